"""An auth manager of Airflow that knows who may read which Dag, as those of companies do."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

# The user of this name may read no Dag whose id begins so; a stranger may read none.
LIMITED = "limited"
HIDDEN = "secret__"
STRANGER = "stranger"


class LimitedAuthManager(SimpleAuthManager):
    """Airflow's own simple one, but for two users."""

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], user: Any, **kwargs: Any) -> set[str]:
        """Leave out what is hidden from the user."""
        found: set[str] = super().filter_authorized_dag_ids(dag_ids=dag_ids, user=user, **kwargs)
        if user.username == STRANGER:
            return set()
        is_limited = user.username == LIMITED
        return {name for name in found if not (is_limited and name.startswith(HIDDEN))}
