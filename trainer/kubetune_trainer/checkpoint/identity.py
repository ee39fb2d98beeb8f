"""What a training must have in common with the checkpoint that it goes on from: model, data, settings."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.reasons import Reason
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import StoredFile
from kubetune_trainer.resolved import ResolvedTraining

MODEL, DATA, ROWS, PRECISION = "spec.model", "spec.dataset", "the rows of the dataset", "the precision"
_PARTS = ("task", "dataset", "method", "training", "evaluation")
_MICRO_BATCH = "microBatchSize"
_MAY_DIFFER = {
    # Where the same files lie, is their matter.
    "dataset": ("uri", "revision", "validation", "test"),
    # Ranks and passes change nothing but rounding, unless the rows of a pass are compared with each other.
    "training": ("checkpoints", "watchdog", _MICRO_BATCH, "precision", "activationCheckpointing"),
    "evaluation": ("require",),
}
_UNSET, _GROUP = "null", "{}"
_DIGITS = 64
"""Of a digest; what is as long or longer itself is digested."""


def identity_of(
    spec: FineTuneJobSpec, resolved: ResolvedTraining, model_files: Iterable[StoredFile], data: PreparedData
) -> dict[str, str]:
    """By what it says, and for settings their field; the values are digests, or short themselves."""
    # With what is unset, so that a field that only one version knows is told from one that was set.
    content = spec.model_dump(mode="json", by_alias=True)
    settings: dict[str, str] = {}
    for part in _PARTS:
        for name, value in content[part].items():
            if name not in _MAY_DIFFER.get(part, ()):
                settings.update(_fields(f"spec.{part}.{name}", value))
    if spec.task_row.compares_rows:
        settings[f"spec.training.{_MICRO_BATCH}"] = json.dumps(resolved.micro_batch_size)
    return {
        MODEL: _digest(sorted((file.name.rpartition("/")[2], file.sha256) for file in model_files)),
        DATA: _digest([file.sha256 for file in data.report.files]),
        ROWS: _rows(data),
        PRECISION: resolved.precision,
        **{name: value if len(value) < _DIGITS else _digest(value) for name, value in settings.items()},
    }


def difference(now: Mapping[str, str], then: Mapping[str, str], step: int) -> str:
    """What the checkpoint of `step` has that is another training's, in words; nothing where it is this one's.

    A field that the checkpoint's version did not know cannot be compared; one that only that version knew must have
    been unset.
    """
    different = next((name for name in {**now, **then} if _differs(now.get(name), then.get(name))), None)
    if different is None:
        return ""
    before = then[different]
    was = {_UNSET: "unset", _GROUP: "set"}.get(before, before)
    shown = f" (it was {was})" if len(before) < _DIGITS else ""
    return f"{different} differs from that of the checkpoint of step {step:,}{shown}"


def refuse_others(now: Mapping[str, str], then: Mapping[str, str], step: int) -> None:
    """RunError where the checkpoint of `step` is that of another training: see `difference`."""
    if told := difference(now, then, step):
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"{told}: the training cannot go on as it began; change it back, or start a new run",
        )


def _differs(now: str | None, then: str | None) -> bool:
    return then is not None and now != then and not (now is None and then == _UNSET)


def _fields(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Each field below by its path, and each group of fields, which may be unset as a whole."""
    if not isinstance(value, dict):
        yield path, json.dumps(value, sort_keys=True)
        return
    yield path, _GROUP
    for name, one in value.items():
        yield from _fields(f"{path}.{name}", one)


def _rows(data: PreparedData) -> str:
    """Of the tokens of all splits: what cleaning, splitting and tokenizer have come to."""
    digest = hashlib.sha256()
    for name in sorted(data.splits):
        split = data.splits[name]
        digest.update(name.encode())
        digest.update(split.offsets.tobytes())
        digest.update(split.tokens.tobytes())
    return digest.hexdigest()


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
