"""An auth manager of Airflow that knows who may read which Dag, as those of companies do."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

# Users of this name may read no Dag whose id begins so.
LIMITED = "limited"
HIDDEN = "secret__"


class LimitedAuthManager(SimpleAuthManager):
    """Airflow's own simple one, but for one user."""

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], user: Any, **kwargs: Any) -> set[str]:
        """Leave out what is hidden from the user."""
        found: set[str] = super().filter_authorized_dag_ids(dag_ids=dag_ids, user=user, **kwargs)
        if user.username != LIMITED:
            return found
        return {dag_id for dag_id in found if not dag_id.startswith(HIDDEN)}
