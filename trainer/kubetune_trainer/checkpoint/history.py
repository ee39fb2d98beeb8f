"""What a checkpoint knows besides tensors, as JSON: all that was recorded, and what the loop remembers.

The classes of what is read come from this program, never from the file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import UnionType
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from kubetune_trainer.checkpoint.manifest import DamagedError
from kubetune_trainer.records import EvaluationRecord, StepRecord

_STEPS = TypeAdapter(tuple[StepRecord, ...])
_HINTS = get_type_hints(EvaluationRecord)
_DETAILS = "details"
_FIELDS = {one.name: TypeAdapter(_HINTS[one.name]) for one in fields(EvaluationRecord) if one.name != _DETAILS}


@dataclass(frozen=True)
class History:
    """A training up to a step."""

    steps: tuple[StepRecord, ...]
    evaluations: tuple[EvaluationRecord, ...]
    loop: Mapping[str, Any] = field(default_factory=dict)
    """What JSON has of the loop: schedule, scale of the loss, early stopping."""
    settled: Mapping[int, Any] = field(default_factory=dict)
    """By the step: the spaces that the validation split has settled."""


def to_json(history: History) -> bytes:
    """NaN and infinity are written as Python does: nobody else reads it."""
    content = {
        "steps": _STEPS.dump_python(history.steps, mode="json"),
        "evaluations": list(map(_evaluation, history.evaluations)),
        "loop": history.loop,
        "settled": {step: _plain(space) for step, space in history.settled.items()},
    }
    return json.dumps(content, separators=(",", ":")).encode()


def from_json(data: bytes, *, details: type | UnionType | None, space: type) -> History:
    """The history of these bytes; `details` and `space` are the classes of the task's. DamagedError if it is none."""
    try:
        content = json.loads(data)
        settled: TypeAdapter[Any] | None = TypeAdapter(space) if content["settled"] else None
        return History(
            _STEPS.validate_python(content["steps"]),
            tuple(_evaluations(content["evaluations"], details)),
            content["loop"],
            {int(step): settled.validate_python(one) for step, one in content["settled"].items()} if settled else {},
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"its history cannot be read ({type(error).__name__})") from None


def joined(parts: Sequence[History]) -> History:
    """What was recorded in any of them, with what the loop remembered last."""
    steps = tuple(record for part in parts for record in part.steps)
    evaluations = tuple(record for part in parts for record in part.evaluations)
    return replace(parts[-1], steps=steps, evaluations=evaluations)


def _evaluation(record: EvaluationRecord) -> dict[str, Any]:
    told = {name: adapter.dump_python(getattr(record, name), mode="json") for name, adapter in _FIELDS.items()}
    return {**told, _DETAILS: None if record.details is None else _plain(record.details)}


def _evaluations(content: Iterable[Mapping[str, Any]], details: Any) -> Iterable[EvaluationRecord]:
    adapter: TypeAdapter[Any] | None = TypeAdapter(details) if details is not None else None
    for one in content:
        told = {name: known.validate_python(one[name]) for name, known in _FIELDS.items()}
        found = adapter.validate_python(one[_DETAILS]) if adapter and one[_DETAILS] is not None else None
        yield EvaluationRecord(details=found, **told)


def _plain(value: Any) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")
