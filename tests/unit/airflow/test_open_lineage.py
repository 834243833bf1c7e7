"""What OpenLineage is told, without its provider: `make openlineage` has that, and an Airflow."""

from __future__ import annotations

from lotus_lake.airflow.open_lineage import lineage_of
from lotus_lake.lake.table_versions import Written
from lotus_lake.observe.flows import Dataset, Flow, Origin
from lotus_lake.observe.tables import Column
from lotus_lake.project.run_results import DataTest

OBJECTS = Dataset("s3://landing", "raw/shop/orders", (Column("id", "BIGINT"),))


def landing(keys: int) -> Flow:
    names = tuple(f"raw/shop/orders/day={number % 3}/{number}.parquet" for number in range(keys))
    return Flow((OBJECTS,), read=Written(7, 100, keys), keys=names)


def test_of_many_files_the_folders_are_named() -> None:
    for keys, named in ((200, 200), (201, 3)):
        (source,) = lineage_of(landing(keys)).inputs
        locations = source.inputFacets["subset"].inputCondition.locations
        assert len(locations) == named
        assert all(place.startswith("s3://landing/raw/shop/orders/day=") for place in locations)
        assert source.inputFacets["inputStatistics"].fileCount == keys


def test_what_is_not_known_is_not_said() -> None:
    failed = DataTest("unique_id", "unique", "id", "error", None, ("fct",))
    fct = Dataset("ducklake:/lake", "lakehouse.main.fct", tests=(failed,))
    told = lineage_of(Flow((fct,), fct))
    (source,), (target,) = told.inputs, told.outputs
    assert (source.facets, target.facets, target.outputFacets) == ({}, {}, {})
    (assertion,) = source.inputFacets["dataQualityAssertions"].assertions
    assert (assertion.success, assertion.actual) == (False, None)
    assert lineage_of(Flow()).outputs == []


def test_only_a_column_that_is_carried_is_said_to_be_the_same() -> None:
    fct = Dataset("ducklake:/lake", "lakehouse.main.fct", (Column("id", "BIGINT"),), 7)
    origins = {"id": [Origin(OBJECTS, "id", unchanged=True), Origin(OBJECTS, "x", unchanged=False)]}
    (target,) = lineage_of(Flow((OBJECTS,), fct, origins)).outputs
    assert target.facets["version"].datasetVersion == "7"
    same, other = target.facets["columnLineage"].fields["id"].inputFields
    assert [(t.type, t.subtype) for t in same.transformations] == [("DIRECT", "IDENTITY")]
    assert (other.name, other.field, other.transformations) == ("raw/shop/orders", "x", [])
