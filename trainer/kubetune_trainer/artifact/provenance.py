"""Where a model came from, as an in-toto statement with SLSA's provenance (v1): the form that other tools read.

It says what the manifest's provenance says. Its fields are those of https://slsa.dev/spec/v1.0/provenance.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from kubetune_api.base import API_VERSION, GROUP
from kubetune_trainer.artifact.manifest import recorded_job, what_ran
from kubetune_trainer.artifact.statement import described, statement
from kubetune_trainer.records import RunRecord, StoredFile

PROVENANCE = "provenance.intoto.json"
"""The file, beside the report."""
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = f"https://{API_VERSION}/FineTuneJob"
"""Says what the parameters mean: a job of this API, and what was resolved of it."""
BUILDER = f"https://{GROUP}/trainer"


def provenance(record: RunRecord, model: Sequence[StoredFile], *, folder: str) -> dict[str, Any]:
    """The statement on the files of a model; their names in it are relative to its `folder`."""
    subject = [described(file.sha256, name=file.name.removeprefix(f"{folder}/")) for file in _sorted(model)]
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"job": recorded_job(record)},
            "internalParameters": what_ran(record),
            "resolvedDependencies": [*_dependencies(record)],
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": record.versions},
            "metadata": {
                "invocationId": f"{record.run_id}/{record.execution}",
                "startedOn": record.start_time,
                "finishedOn": record.completion_time,
            },
        },
    }
    return statement(subject, PREDICATE_TYPE, predicate)


def _dependencies(record: RunRecord) -> Iterator[dict[str, Any]]:
    """Every file that was read, each with what it was read for."""
    revision, data = record.base.revision, record.job.spec.dataset.revision
    parts = (
        ("baseModel", revision, record.base.files),
        ("adapter", record.job.spec.model.revision, record.base.adapter),
    )
    for name, pinned, files in (*parts, ("data", data, record.data.files)):
        for file in _sorted(files):
            annotations = {"size": file.size} | ({"revision": pinned} if pinned else {})
            yield described(file.sha256, name=name, uri=file.name, annotations=annotations)


def _sorted(files: Sequence[StoredFile]) -> list[StoredFile]:
    return sorted(files, key=lambda file: file.name)
