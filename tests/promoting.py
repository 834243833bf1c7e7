"""Three models of the tests' stream, built and promoted without dbt."""

from __future__ import annotations

from collections.abc import Sequence

from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.project.manifest import Model
from lotus_lake.repair.promotion import Promotion, open_promotion, open_rollback, promote

NAME = "new_sales"
INT, FCT, OTHER = "int_shop__orders", "fct_sales", "fct_months"
MODELS = {
    model.name: model
    for model in (
        Model(INT, "processed", "shop", ("shop__orders",), (), "", ("id",)),
        Model(FCT, "enriched", "sales", (), (INT,), ""),
        Model(OTHER, "enriched", "sales", (), (FCT,), ""),
    )
}
SQL = {
    INT: "SELECT id::BIGINT AS id, {text} AS text, snapshot_id AS _lake_snapshot_id "
    "FROM {lake}.staging.stg_shop__orders WHERE year IS NOT NULL",
    FCT: "SELECT id, text || '!' AS text FROM {lake}.main.int_shop__orders",
    OTHER: "SELECT count(*) AS rows FROM {lake}.main.fct_sales",
}


def build(lake: Lake, *models: str, text: str = "status") -> None:
    """What dbt does with --full-refresh: makes tables anew, with their watermarks."""
    for model in models or SQL:
        lake.con.execute("BEGIN")
        mark = f"{META}.watermark_{model}"
        if model == INT:
            lake.con.execute(
                f"CREATE TABLE IF NOT EXISTS {mark} AS SELECT -1::BIGINT AS "
                "snapshot_id_from, -1::BIGINT AS snapshot_id_to, now() AS updated_at"
            )
            lake.con.execute(f"UPDATE {mark} SET snapshot_id_to = "
                             f"(SELECT id FROM {LAKE}.current_snapshot())")  # fmt: skip
        query = SQL[model].format(lake=LAKE, text=text)
        lake.con.execute(f"CREATE OR REPLACE TABLE {LAKE}.main.{model} AS {query}")
        lake.con.execute("COMMIT")


def build_on(lake: Lake) -> None:
    """What dbt does for an increment: adds what has landed since the watermark."""

    def unit() -> None:
        mark = f"{META}.watermark_{INT}"
        lake.con.execute(f"UPDATE {mark} SET snapshot_id_from = snapshot_id_to, snapshot_id_to = "
                         f"(SELECT id FROM {LAKE}.current_snapshot())")  # fmt: skip
        lake.con.execute(
            f"INSERT INTO {LAKE}.main.{INT} {SQL[INT].format(lake=LAKE, text='status')} "
            f"AND snapshot_id > (SELECT snapshot_id_from FROM {mark})"
        )

    lake.commit("build", unit)


def table(lake: Lake, name: str = FCT) -> list[tuple[object, ...]]:
    """All rows of a table, in order."""
    return lake.rows(f"SELECT * FROM {LAKE}.main.{name} ORDER BY ALL")


def mark(lake: Lake) -> int:
    """The watermark of the processed model."""
    return int(lake.value(f"SELECT snapshot_id_to FROM {META}.watermark_{INT}"))


def do_promote(lake: Lake, chosen: Sequence[str] = (), *, behind: bool = False) -> Promotion:
    """Promote some models, or all that were changed on the branch."""
    with open_promotion(lake, NAME, MODELS) as (judge, changed):
        return promote(judge, chosen or changed, "run", may_be_behind=behind)


def roll_back(lake: Lake, *chosen: str, to: int | None = None) -> Promotion:
    """Roll models back."""
    with open_rollback(lake, to, MODELS) as judge:
        return promote(judge, chosen, "back")
