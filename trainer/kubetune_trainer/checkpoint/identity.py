"""What a training must have in common with the checkpoint that it goes on from: model, data, settings."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.reasons import Reason
from kubetune_trainer.data.prepared import PreparedData
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import ResolvedTraining, StoredFile

MODEL, DATA, ROWS, PRECISION = "spec.model", "spec.dataset", "the rows of the dataset", "the precision"
_PARTS = ("task", "dataset", "method", "training", "evaluation")
_MAY_DIFFER = {
    # Where the same files lie, is their matter.
    "dataset": ("uri", "revision"),
    # Ranks and passes change nothing but rounding.
    "training": ("checkpoints", "microBatchSize", "precision"),
    "evaluation": ("require",),
}


def identity_of(
    spec: FineTuneJobSpec, resolved: ResolvedTraining, model_files: Iterable[StoredFile], data: PreparedData
) -> dict[str, str]:
    """By what it says, and for settings their field; the values are digests, or short themselves."""
    # With what is unset, so that a field that only one version knows is told from one that was set.
    content = spec.model_dump(mode="json", by_alias=True)
    settings = {
        f"spec.{part}.{name}": json.dumps(value, sort_keys=True)
        for part in _PARTS
        for name, value in content[part].items()
        if name not in _MAY_DIFFER.get(part, ())
    }
    for split in ("validation", "test"):
        settings.pop(f"spec.dataset.{split}", None)
    return {
        MODEL: _digest(sorted((file.name.rpartition("/")[2], file.sha256) for file in model_files)),
        DATA: _digest([file.sha256 for file in data.report.files]),
        ROWS: _rows(data),
        PRECISION: resolved.precision,
        **{name: value if len(value) <= 64 else _digest(value) for name, value in settings.items()},
    }


def refuse_others(now: Mapping[str, str], then: Mapping[str, str], step: int) -> None:
    """RunError where the checkpoint of `step` is that of another training."""
    different = [name for name in now if now[name] != then.get(name, now[name])]
    if different:
        name = different[0]
        before = "unset" if then[name] == "null" else then[name]
        was = f" (it was {before})" if name.startswith("spec.") and name not in (MODEL, DATA) else ""
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"{name} differs from that of the checkpoint of step {step:,}{was}: the training cannot go on as it began;"
            " change it back, or start a new run",
        )


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
