"""`metrics.jsonl`: every step, every evaluation and the end of a training, one JSON object to the line.

Keys are camelCase, as in the manifest and the status; the names of metrics (`f1_macro`) are those of the manifest. JSON
has no NaN and no infinity: both are null. What an evaluation tells beyond its metrics, its task puts in words. No text
of the data is in it.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic.alias_generators import to_camel

from kubetune_trainer.records import EvaluationRecord, RunRecord, StepRecord, TrainingEnd, in_order

_TYPES = {StepRecord: "step", EvaluationRecord: "evaluation", TrainingEnd: "end"}
_NOT_TOLD = ("details", "worst", "written", "notes")
_KEYS = {kind: [(one.name, to_camel(one.name)) for one in fields(kind) if one.name not in _NOT_TOLD] for kind in _TYPES}


def write_metrics(record: RunRecord, path: Path) -> None:
    """Writes the steps and evaluations of `record` to `path`, in the order in which they happened."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in metric_lines(record))


def metric_lines(record: RunRecord) -> Iterator[str]:
    """The lines of the file, without their ends. An evaluation stands behind the step whose weights it judges."""
    return map(metric_line, in_order(record.steps, record.evaluations, record.end))


def metric_line(event: StepRecord | EvaluationRecord | TrainingEnd) -> str:
    """The line of one step, one evaluation or the end of the training, without its own end."""
    return json.dumps({"type": _TYPES[type(event)], **_fields(event)}, allow_nan=False, separators=(",", ":"))


def _fields(event: StepRecord | EvaluationRecord | TrainingEnd) -> dict[str, Any]:
    found = {key: getattr(event, name) for name, key in _KEYS[type(event)]}
    if isinstance(event, EvaluationRecord):
        found = {name: value for name, value in found.items() if name not in ("intervals", "slices") or value}
        if event.slices:
            found["slices"] = [asdict(one) for one in event.slices]
        found |= event.details.to_dict() if event.details is not None else {}
    return {name: _finite(value) for name, value in found.items()}


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
