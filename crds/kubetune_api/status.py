"""`FineTuneJob.status`, and what `kubetune run --json` prints: the same shape."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel

Sentence = Annotated[str, StringConstraints(max_length=4096)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, max_length=64)]
StoredUri = Annotated[str, StringConstraints(max_length=2048)]

Phase = Literal["Pending", "Running", "Succeeded", "Failed"]


class Reason:
    """Why a condition is as it is. Constants, so that alerts and scripts can rely on them."""

    PUBLISHED = "ModelPublished"
    REQUIREMENT_MISSED = "RequirementMissed"
    INVALID_MANIFEST = "InvalidManifest"
    INVALID_MODEL = "InvalidModel"
    INVALID_DATA = "InvalidData"
    STORAGE_FAILED = "StorageFailed"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    NOT_FINITE = "LossNotFinite"
    VERIFICATION_FAILED = "VerificationFailed"
    OUT_OF_MEMORY = "OutOfMemory"
    INTERRUPTED = "Interrupted"
    UNKNOWN = "Unknown"


USER_REASONS = frozenset({Reason.INVALID_MANIFEST, Reason.INVALID_MODEL, Reason.INVALID_DATA})
"""The reasons that the author of the manifest or of its data must act on: `kubetune run` exits with 2."""


class Condition(ApiModel):
    """One truth about the run, in the form of Kubernetes' conditions."""

    type: Annotated[str, StringConstraints(max_length=64)]
    """`Succeeded` or `Failed`."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, StringConstraints(max_length=128)]
    """Why, as a constant."""
    message: Sentence
    """Why, as a sentence that a person can act on."""
    last_transition_time: Timestamp
    """When `status` last changed."""


class Progress(ApiModel):
    """How far the training is."""

    step: Annotated[int, Field(ge=0)]
    """Optimizer steps done."""
    total_steps: Annotated[int, Field(ge=0)]
    """Optimizer steps in all."""
    epoch: float
    """Epochs done, with their fraction."""
    loss: float | None = None
    """The mean loss of the last step's global batch."""
    learning_rate: float | None = None
    """The learning rate of the last step."""
    tokens_per_second: float | None = None
    """Tokens trained on per second, over all workers, padding not counted."""
    seconds_left: float | None = None
    """The estimated time to the last step, in seconds."""


class Metric(ApiModel):
    """A measured value."""

    name: Annotated[str, StringConstraints(max_length=64)]
    """The full name, `test/accuracy`."""
    value: float
    """The value."""


class Artifact(ApiModel):
    """The published result."""

    uri: StoredUri
    """The folder of the model in Hugging Face format."""
    manifest_uri: StoredUri
    """The manifest that commits it: every file with size and sha256, and the provenance."""
    report_uri: StoredUri
    """The report, one HTML file."""
    digest: Digest
    """The sha256 of the manifest."""
    size_bytes: Annotated[int, Field(ge=0)]
    """The size of all files together, in bytes."""
    rejected: bool = False
    """Whether the model missed a requirement; it then lies under `rejected/`."""


def _keyed_by(field: str) -> dict[str, Any]:
    """A list whose items the API server tells apart by a field, as it does for every condition list."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}


class FineTuneJobStatus(ApiModel):
    """What has been seen of the run."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that this status speaks of."""
    phase: Phase | None = None
    """One word for people; derived from the conditions and never read back."""
    started_at: Timestamp | None = None
    """When the run started; from then on the spec is fixed."""
    finished_at: Timestamp | None = None
    """When the run ended."""
    run: Annotated[str, StringConstraints(max_length=64)] | None = None
    """The id of the run: the last folder of the output's path."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=_keyed_by("type"))] = Field([])
    """The truths about the run."""
    progress: Progress | None = None
    """How far the training is."""
    metrics: Annotated[list[Metric], Field(max_length=256, json_schema_extra=_keyed_by("name"))] = Field([])
    """The final metrics."""
    artifact: Artifact | None = None
    """The published result."""
