"""The entries of a run's chain of checkpoints, and how an entry that was edited is known."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from kubetune_trainer.artifact.publish import canonical_json
from kubetune_trainer.records import StoredFile

_Count = Annotated[int, Field(ge=0)]


class DamagedError(Exception):
    """A checkpoint cannot be used; the message says why. Never leaves the trainer: an earlier one is taken."""


class _Entry(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")

    run: str
    execution: Annotated[int, Field(ge=1)]


class Start(_Entry):
    """An execution begins: none before it commits anything any more."""

    kind: Literal["Start"] = "Start"


class End(_Entry):
    """An execution has trained and verified its model, which it will publish."""

    kind: Literal["End"] = "End"


class Turn(_Entry):
    """Whoever goes on from here takes what is left of an epoch in another order, because a loss jumped."""

    kind: Literal["Turn"] = "Turn"
    spike: Annotated[int, Field(ge=1)]
    """The step whose loss it was."""
    behind: _Count
    """The step behind which the order is another one."""


class _File(BaseModel):
    model_config = _Entry.model_config

    path: Annotated[str, Field(pattern=r"^executions/\d+/checkpoints/step-\d{8,}/[A-Za-z0-9][\w.-]*$")]
    """Of no other file: what an entry names is removed some day."""
    size: _Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Checkpoint(_Entry):
    """A training as it was after a step."""

    kind: Literal["Checkpoint"] = "Checkpoint"
    step: Annotated[int, Field(ge=1)]
    """Optimizer steps that were done."""
    epoch: _Count
    """Whole epochs that were done."""
    rows_seen: _Count
    """Of the epoch that had begun."""
    workers: Annotated[int, Field(ge=1)]
    shards: tuple[_File, ...]
    """By rank; paths are relative to the run's root."""
    history: _File
    """What the loop remembers: see `history.py`."""
    records: tuple[_File, ...] = ()
    """What was recorded, in order. Several checkpoints name the same file: each adds one."""
    identity: dict[str, str]
    """Model, data and settings: see `identity.py`."""
    turns: tuple[_Count, ...] = ()
    """Behind which steps the rows came in another order: see `BatchPlan`."""

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """All of them, the shards first."""
        files = (*self.shards, *self.records, self.history)
        return tuple(StoredFile(file.path, file.size, file.sha256) for file in files)


Entry = Start | End | Turn | Checkpoint


class _Sealed(BaseModel):
    model_config = _Entry.model_config

    entry: Annotated[Entry, Field(discriminator="kind")]
    sha256: str
    """Of the entry's canonical JSON."""


def named(file: StoredFile) -> Mapping[str, object]:
    """A file as an entry names it."""
    return {"path": file.name, "size": file.size, "sha256": file.sha256}


def sealed(entry: Entry) -> bytes:
    """The entry as it is stored, with a digest of itself."""
    content = entry.model_dump(mode="json", by_alias=True)
    return canonical_json({"entry": content, "sha256": _digest(content)})


def unsealed(data: bytes, run_id: str) -> Entry:
    """The entry of stored bytes; DamagedError where somebody has changed it, or it is none of this run."""
    try:
        found = _Sealed.model_validate_json(data)
    except ValidationError:
        raise DamagedError("its manifest is not one of kubetune") from None
    # As it was read: a field that came later has a default, which is in no older entry.
    if _digest(json.loads(data)["entry"]) != found.sha256:
        raise DamagedError("its manifest was edited")
    if found.entry.run != run_id:
        raise DamagedError("its manifest is that of another run")
    if isinstance(found.entry, Checkpoint) and found.entry.workers != len(found.entry.shards):
        raise DamagedError("its manifest does not have a shard of each worker")
    return found.entry


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()
