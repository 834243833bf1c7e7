"""OpenLineage's events: what its provider is told of the tasks that read and write.

The provider asks an operator once its task has ended, in a process of its own that it ends after
`[openlineage] execution_timeout`, 10 s: nothing here can delay or fail a task. Without the
provider nobody asks, and this module, which loads its client, is never loaded.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    base_subset_dataset,
    column_lineage_dataset,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    schema_dataset,
)

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import Stream
from lotus_lake.lake.connection import open_to_read
from lotus_lake.lake.table_versions import Written
from lotus_lake.observe.flows import Dataset, Flow, built, landed

# Keys that an event names; of more files, the folders.
_NAMED_KEYS = 200


def of_landing(settings: Settings, stream: Stream, run_id: str) -> SimpleNamespace:
    """What a run has landed of a stream."""
    with open_to_read(settings) as lake:
        return lineage_of(landed(lake, stream, run_id))


def of_build(settings: Settings, name: str, results: str | None) -> SimpleNamespace:
    """What a process of dbt has built and tested.

    Args:
        settings: Of the lake.
        name: The model or test that it was started for.
        results: What is in its `run_results.json`; `None` if it has none.
    """
    if results is None:
        return lineage_of(Flow())
    with open_to_read(settings) as lake:
        return lineage_of(built(lake, name, json.loads(results)))


def lineage_of(flow: Flow) -> SimpleNamespace:
    """A flow in OpenLineage's words, in the shape of the provider's `OperatorLineage`."""
    inputs = [
        InputDataset(d.namespace, d.name, facets=_facets(d), inputFacets=_input_facets(d, flow))
        for d in flow.inputs
    ]
    outputs = []
    if flow.output:
        output = OutputDataset(
            flow.output.namespace,
            flow.output.name,
            facets=_facets(flow.output) | _column_lineage(flow),
            outputFacets=_output_facets(flow.written),
        )
        outputs.append(output)
    return SimpleNamespace(inputs=inputs, outputs=outputs, run_facets={}, job_facets={})


def _facets(dataset: Dataset) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if dataset.columns:
        facets["schema"] = schema_dataset.SchemaDatasetFacet(
            fields=[
                schema_dataset.SchemaDatasetFacetFields(
                    name=column.name,
                    type=column.type,
                    description=column.description,
                    ordinal_position=number,
                )
                for number, column in enumerate(dataset.columns, start=1)
            ]
        )
    if dataset.version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
            datasetVersion=str(dataset.version)
        )
    return facets


def _column_lineage(flow: Flow) -> dict[str, Any]:
    if not flow.origins:
        return {}
    unchanged = [
        column_lineage_dataset.Transformation(type="DIRECT", subtype="IDENTITY", masking=False)
    ]
    return {
        "columnLineage": column_lineage_dataset.ColumnLineageDatasetFacet(
            fields={
                name: column_lineage_dataset.Fields(
                    inputFields=[
                        column_lineage_dataset.InputField(
                            origin.dataset.namespace,
                            origin.dataset.name,
                            origin.column,
                            unchanged if origin.unchanged else [],
                        )
                        for origin in origins
                    ]
                )
                for name, origins in flow.origins.items()
            }
        )
    }


def _input_facets(dataset: Dataset, flow: Flow) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if flow.read:
        facets["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=flow.read.rows, size=flow.read.size_bytes, fileCount=flow.read.files
        )
        keys = flow.keys
        if len(keys) > _NAMED_KEYS:
            keys = tuple(sorted({key.rpartition("/")[0] for key in keys}))[:_NAMED_KEYS]
        facets["subset"] = base_subset_dataset.InputSubsetInputDatasetFacet(
            inputCondition=base_subset_dataset.LocationSubsetCondition(
                locations=[f"{dataset.namespace}/{key}" for key in keys]
            )
        )
    if dataset.tests:
        facets["dataQualityAssertions"] = (
            data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
                assertions=[
                    data_quality_assertions_dataset.Assertion(
                        assertion=test.kind,
                        success=test.failures == 0,
                        column=test.column,
                        severity=test.severity,
                        name=test.name,
                        actual=None if test.failures is None else str(test.failures),
                    )
                    for test in dataset.tests
                ]
            )
        )
    return facets


def _output_facets(written: Written | None) -> dict[str, Any]:
    if written is None:
        return {}
    return {
        "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=written.rows, size=written.size_bytes, fileCount=written.files
        )
    }
