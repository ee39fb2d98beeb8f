"""A published run, as its manifest tells of it: the status of the run that published it, or of one that finds it there.

An attempt may publish and lose its answer: its pod dies, or the operator never hears of it. The next one must not train
again, and could not publish over it.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from kubetune_api.data_counts import DataCounts
from kubetune_api.metrics import rank
from kubetune_api.numbers import on_its_side
from kubetune_api.outcome import Ending
from kubetune_api.reasons import Reason
from kubetune_api.resolved_settings import ResolvedSettings
from kubetune_api.run import EXECUTIONS, MANIFEST, MODEL, Run
from kubetune_api.status import Artifact, CheckpointStatus, FineTuneJobStatus, Progress
from kubetune_api.text import elide
from kubetune_trainer.artifact.listing import walk
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import RequirementResult, StoredFile
from kubetune_trainer.storage.store import MissingObjectError, Store


class _Part(BaseModel):
    """What is read of a part of the manifest; the rest is for people."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class _File(_Part):
    path: str
    size: Annotated[int, Field(ge=0)]
    sha256: str


class _Requirement(_Part):
    metric: str
    value: float | None
    min: float | None
    max: float | None


class _Metadata(_Part):
    name: str | None = None


class _Job(_Part):
    metadata: _Metadata = _Metadata()


class _Provenance(_Part):
    job: _Job = _Job()
    workers: int
    zero_stage: int
    precision: str
    micro_batch_size: int
    learning_rate: float
    max_length: int
    activation_checkpointing: str | None = None
    start_time: str
    completion_time: str


class Manifest(_Part):
    """A manifest, as it is read."""

    run: str
    execution: Annotated[int, Field(ge=1)]
    rejected: bool
    files: list[_File]
    metrics: dict[str, float | None]
    requirements: list[_Requirement]
    doubts: list[str] = []
    provenance: _Provenance

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The manifest of these bytes; ValueError says why they are none."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            at = elide(".".join(map(str, error.errors()[0]["loc"]))) or "the whole of it"
            raise ValueError(f"not a manifest of kubetune ({at} is wrong)") from None

    @property
    def missed(self) -> tuple[str, ...]:
        """The requirements that the model missed, a sentence each."""
        return _missed(map(_result, self.requirements))

    @property
    def job(self) -> str | None:
        """The name of the run's job."""
        return self.provenance.job.metadata.name

    @property
    def folder(self) -> str:
        """That of the execution which published, relative to the run's."""
        return f"{EXECUTIONS}/{self.execution}"


@dataclass(frozen=True)
class Published:
    """A verified model and all that was committed with it."""

    run_id: str
    execution: int
    folder: str
    """Relative to the run's."""
    start_time: str
    completion_time: str
    metrics: dict[str, float]
    primary_metric: str | None
    """The full name of the metric that stands for the model."""
    requirements: tuple[RequirementResult, ...]
    doubts: tuple[str, ...]
    """What the report says against the model, in sentences."""
    resolved: ResolvedSettings
    files: tuple[StoredFile, ...]
    artifact: Artifact

    def status(
        self, progress: Progress | None, data: DataCounts | None = None, checkpoint: CheckpointStatus | None = None
    ) -> FineTuneJobStatus:
        """The status of the job: a model that misses a requirement is kept, and the run has failed."""
        ending = Ending(
            run=self.run_id,
            start_time=self.start_time,
            completion_time=self.completion_time,
            data=data,
            progress=progress,
            checkpoint=checkpoint,
            metrics=self.metrics,
            primary_metric=self.primary_metric,
            artifact=self.artifact,
            resolved=self.resolved,
        )
        if not self.artifact.rejected:
            return ending.succeeded(self.doubts)
        missed = "; ".join(_missed(self.requirements))
        return ending.failed(Reason.REQUIREMENT_MISSED, f"{missed}. The model is kept in {self.artifact.uri}")


def find_published(run: Run, store: Store) -> Published | None:
    """What an execution of the run has published, if its files are there; None if there is no manifest."""
    try:
        data = store.get(MANIFEST)
    except MissingObjectError:
        return None
    published = read_published(run, store, data)
    _check_files(store, published)
    return published


def read_published(run: Run, store: Store, data: bytes) -> Published:
    """What the bytes of a manifest say; RunError if they are no manifest of this run."""
    uri = store.uri(MANIFEST)
    try:
        content = Manifest.read(data)
    except ValueError as error:
        raise _unusable(uri, f"it is {error}") from None
    if content.run != run.run_id:
        raise _unusable(uri, "it is that of another run")
    return Published(
        run_id=run.run_id,
        execution=content.execution,
        folder=content.folder,
        start_time=content.provenance.start_time,
        completion_time=content.provenance.completion_time,
        metrics={
            name: value for name in sorted(content.metrics, key=rank) if (value := content.metrics[name]) is not None
        },
        primary_metric=run.job.spec.primary_metric,
        requirements=tuple(_result(requirement) for requirement in content.requirements),
        doubts=tuple(content.doubts),
        resolved=ResolvedSettings(**content.provenance.model_dump(exclude={"job", "start_time", "completion_time"})),
        files=tuple(StoredFile(file.path, file.size, file.sha256) for file in content.files),
        artifact=Artifact(
            uri=store.uri(f"{content.folder}/{MODEL}"),
            manifest_uri=uri,
            report_uri=store.uri(f"{content.folder}/report.html"),
            digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
            size_bytes=sum(file.size for file in content.files),
            rejected=content.rejected,
        ),
    )


def _check_files(store: Store, published: Published) -> None:
    there = {info.path: info.size for info in walk(store, published.folder)}
    for file in published.files:
        if file.name not in there:
            raise _unusable(published.artifact.manifest_uri, f"{file.name}, which it names, is not there")
        if there[file.name] != file.size:
            raise _unusable(
                published.artifact.manifest_uri,
                f"{file.name} has {there[file.name]} bytes, and {file.size} were published",
            )


def _result(requirement: _Requirement) -> RequirementResult:
    value = math.nan if requirement.value is None else requirement.value
    return RequirementResult(requirement.metric, value, requirement.min, requirement.max)


def _missed(requirements: Iterable[RequirementResult]) -> tuple[str, ...]:
    return tuple(_miss(requirement) for requirement in requirements if not requirement.met)


def _miss(requirement: RequirementResult) -> str:
    bounds = [f"at least {requirement.min:g}"] if requirement.min is not None else []
    bounds += [f"at most {requirement.max:g}"] if requirement.max is not None else []
    value = on_its_side(requirement.value, lambda value: replace(requirement, value=value).met)
    return f"{requirement.metric} is {value}, required is {' and '.join(bounds)}"


def _unusable(uri: str, why: str) -> RunError:
    return RunError(
        Reason.STORAGE_FAILED,
        f"{uri} says that this run is published, but {why}. Nothing was changed; start a new job, or move the manifest"
        " away to train again.",
    )
