"""The Lake page: an entry in Airflow's navigation, and a tab of each Dag.

Every process of Airflow loads this file, tasks too: it imports nothing of the page. Addresses are
relative to the UI's `<base>`, so that any base path works.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

Message = MutableMapping[str, Any]


async def page(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """The page as an ASGI app."""
    from lotus_lake.airflow.page.app import app

    await app(scope, receive, send)


class LakePagePlugin(AirflowPlugin):
    """Mounts the page in the api-server and puts it into the UI."""

    name = "lake_page"
    fastapi_apps = [{"name": "lake", "app": page, "url_prefix": "/lake"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Lake",
            "href": "lake/",
            "destination": "nav",
            "url_route": "lake",
            "nav_top_level": True,
            "icon": "lake/static/lake.svg",
            "icon_dark_mode": "lake/static/lake-dark.svg",
        },
        {
            "name": "Lake",
            "href": "lake/stream?dag_id={DAG_ID}",
            "destination": "dag",
            "url_route": "lake-stream",
            "icon": "lake/static/lake.svg",
            "icon_dark_mode": "lake/static/lake-dark.svg",
        },
    ]
