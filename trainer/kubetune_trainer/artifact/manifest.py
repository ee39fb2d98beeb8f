"""What `manifest.json` says: every file with size and digest, and where the model came from."""

import math
from collections.abc import Sequence
from typing import Any

from kubetune_api.base import API_VERSION
from kubetune_trainer.records import RequirementResult, RunRecord, StoredFile

SCHEMA_VERSION = 1


def manifest(
    record: RunRecord, files: Sequence[StoredFile], *, folder: str, doubts: Sequence[str] = ()
) -> dict[str, Any]:
    """The content of the manifest.

    `files` are all that was uploaded but for the journal, whose lines `metrics.jsonl` has too, `folder` that of the
    execution; both relative to the run's root. `doubts` speak against the model, in sentences. A value that is not
    finite (a perplexity beyond all numbers) is null, as JSON has no word for it.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "Manifest",
        "schemaVersion": SCHEMA_VERSION,
        "run": record.run_id,
        "execution": record.execution,
        "rejected": record.rejected,
        "folder": folder,
        "files": [_file("path", file) for file in sorted(files, key=lambda file: file.name)],
        "metrics": {name: _finite(value) for name, value in record.final_metrics().items()},
        "doubts": list(doubts),
        "requirements": [_requirement(result) for result in record.requirements],
        "provenance": _provenance(record),
    }


def recorded_job(record: RunRecord) -> dict[str, Any]:
    """The job as it was resolved, without its status."""
    job = record.job.to_dict()
    job.pop("status", None)
    return job


def what_ran(record: RunRecord) -> dict[str, Any]:
    """What the manifest left open, as it ran, and where."""
    return {
        **record.resolved.settings.to_dict(),
        "device": record.device,
        "steps": len(record.steps),
        "keptStep": record.end.kept_step,
    }


def _provenance(record: RunRecord) -> dict[str, Any]:
    return {
        "job": recorded_job(record),
        "baseModel": {
            "uri": record.base.uri,
            "revision": record.base.revision,
            "family": record.base.family,
            "parameters": record.base.parameters,
            "trainedParameters": record.base.trained_parameters,
            "files": [_file("uri", file) for file in record.base.files],
        },
        **_adapter(record),
        "data": {
            "files": [_file("uri", file) for file in record.data.files],
            "rowsRead": record.data.rows_read,
            "splits": {split.name: split.rows for split in record.data.splits},
            "labels": list(record.data.labels),
        },
        **what_ran(record),
        "versions": record.versions,
        "startTime": record.start_time,
        "completionTime": record.completion_time,
    }


def _adapter(record: RunRecord) -> dict[str, Any]:
    """The adapter that was trained on, if there was one."""
    if not record.base.adapter:
        return {}
    model, files = record.job.spec.model, [_file("uri", file) for file in record.base.adapter]
    return {"adapter": {"uri": model.uri, "revision": model.revision, "files": files}}


def _file(key: str, file: StoredFile) -> dict[str, Any]:
    return {key: file.name, "size": file.size, "sha256": file.sha256}


def _requirement(result: RequirementResult) -> dict[str, Any]:
    return {
        "metric": result.metric,
        "value": _finite(result.value),
        "min": result.min,
        "max": result.max,
        "met": result.met,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
