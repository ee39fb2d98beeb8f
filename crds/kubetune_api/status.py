"""`FineTuneJob.status`, and what `kubetune run --json` prints: the same shape."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel
from kubetune_api.data_counts import DataCounts
from kubetune_api.metrics import metric_text
from kubetune_api.resolved_settings import MOST, ResolvedSettings, Word

LONGEST_SENTENCE, LONGEST_OF_ATTEMPT, LONGEST_EVIDENCE = 4096, 1024, 256
"""Characters of a message of the job, of one of an attempt, and of a line of evidence."""
MOST_ATTEMPTS, MOST_EVIDENCE, MOST_AVOIDED = 10, 4, 8
"""The attempts that a status lists, and of each the lines of evidence and the nodes that it avoids."""
NodeName = Annotated[str, StringConstraints(max_length=253)]
Sentence = Annotated[str, StringConstraints(max_length=LONGEST_SENTENCE)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, max_length=64)]
StoredUri = Annotated[str, StringConstraints(max_length=2048)]

# What this version writes.
Phase = Literal["Pending", "Admitted", "Running", "Suspended", "Succeeded", "Failed"]
ConditionType = Literal[
    "Accepted", "Admitted", "Running", "Suspended", "Succeeded", "Failed", "Ready", "Stalled", "CheckpointsSaved"
]


class Condition(ApiModel):
    """A condition of the run, in the form of Kubernetes' conditions."""

    type: Word
    """What it is about: `Accepted` by kubetune, `Admitted` to its hardware, `Running`, `Suspended`, and at the end
    `Succeeded` or `Failed`. `Ready` and `Stalled` say the same to GitOps tools, `CheckpointsSaved` whether the last
    checkpoint was saved. A local run has its end alone."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is true."""
    reason: Annotated[str, StringConstraints(max_length=128)]
    """Why, as a constant."""
    message: Sentence
    """Why, as a sentence that a person can act on."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The generation of the spec that this condition describes. A local run leaves it out."""


class Progress(ApiModel):
    """How far the training is."""

    step: Annotated[int, Field(ge=0, le=MOST)]
    """Optimizer steps done."""
    total_steps: Annotated[int, Field(ge=0, le=MOST)]
    """All optimizer steps of the run."""
    epoch: float
    """Epochs done, with their fraction."""
    loss: float | None = None
    """The mean loss of the last step's global batch."""
    learning_rate: float | None = None
    """The learning rate of the last step."""
    tokens_per_second: float | None = None
    """Tokens trained on per second, over all workers, padding not counted."""
    seconds_left: float | None = None
    """The estimated time to the last step, in seconds; evaluations are not in it."""
    evaluating: Word | None = None
    """The split that is being evaluated; meanwhile no step is done."""
    answers: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The rows of that split that the model has written its answer to, while it writes answers."""
    total_answers: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The rows that it writes answers to."""
    kept_step: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The step whose weights are published; known once the training has ended."""


class CheckpointStatus(ApiModel):
    """The checkpoints of the run, as its newest execution knows them."""

    step: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The optimizer steps that were done in the last one that was committed: a run that is ended goes on behind it.
    Unset: there is none yet."""
    time: Timestamp | None = None
    """When that one was committed. Unset: an earlier execution has committed it, and this one none yet."""
    size_bytes: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The size of all its files together, in bytes."""
    stall_seconds: Annotated[float, Field(ge=0.0, le=MOST)] | None = None
    """How long the training stood still for its copy in main memory, on the worker that took longest, in seconds."""
    upload_seconds: Annotated[float, Field(ge=0.0, le=MOST)] | None = None
    """How long its upload took, on the worker that took longest, in seconds; the training went on meanwhile."""
    interval_seconds: Annotated[float, Field(ge=0.0, le=MOST)] | None = None
    """How long after its beginning the next one is due, in seconds, as the job says or as its cost demands. Unset:
    `training.checkpoints.everySteps` alone says when."""
    resumed_step: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The step behind which this execution went on. Unset: it began with the first."""
    failures: Annotated[int, Field(ge=0, le=MOST)] = 0
    """At how many steps, since the last commit, one could not be saved. The training goes on, and the next is tried."""
    message: Annotated[str, StringConstraints(max_length=LONGEST_OF_ATTEMPT)] | None = None
    """Why the last one that was tried could not be saved. Unset: it could."""


def six_digits(value: float) -> float:
    """What a status shows of a number: it is for people, and `kubectl get` prints all digits that there are."""
    return float(f"{value:.6g}")


class Metric(ApiModel):
    """A measured value."""

    name: Annotated[str, StringConstraints(max_length=64)]
    """The full name, `test/loss`."""
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
    size_bytes: Annotated[int, Field(ge=0, le=MOST)]
    """The size of all files together, in bytes."""
    rejected: bool = False
    """Whether the model missed a requirement; the manifest says so too."""


class Attempt(ApiModel):
    """One try to run the job: one RayJob."""

    number: Annotated[int, Field(ge=1, le=MOST)]
    """Counts the attempts, from 1."""
    ray_job: Annotated[str, StringConstraints(max_length=63)]
    """The name of its RayJob."""
    ray_job_uid: Annotated[str, StringConstraints(max_length=64)] | None = None
    """The UID of its RayJob, once that was seen."""
    ray_cluster_uid: Annotated[str, StringConstraints(max_length=64)] | None = None
    """The UID of the last RayCluster that was seen; each time a queue admits the attempt, it gets a new one."""
    execution: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """Which of the run's executions it claimed: the number in the path of its files."""
    start_time: Timestamp
    """When the attempt was begun."""
    deadline_seconds: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """The longest that the attempts may run, all together, in seconds, as it was when this one began."""
    micro_batch_size: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """The most examples of a micro-batch, after a lack of memory; where it lacked some itself, those that it took."""
    workers: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """Its workers, where nodes were missing for all; where they were missing for its own, those that had a node."""
    running_time: Timestamp | None = None
    """When the trainer of this attempt was first seen to run."""
    ran_seconds: Annotated[int, Field(ge=0, le=MOST)] = 0
    """How long it ran before a queue took its hardware, in seconds; `runningTime` counts from then on."""
    head_gone_time: Timestamp | None = None
    """When its head was first seen to be gone, while the attempt went on all the same; kept if it ended for that."""
    stuck_pod: Annotated[str, StringConstraints(max_length=253)] | None = None
    """A pod of it that cannot start, as long as it cannot."""
    stuck_time: Timestamp | None = None
    """Since when that is so; the operator waits for it only so long."""
    stuck_reason: Annotated[str, StringConstraints(max_length=128)] | None = None
    """Why that was so at first, as a constant."""
    ray_job_ended_time: Timestamp | None = None
    """When its RayJob was first seen to be over, as long as its final report may still come."""
    resumed_step: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The step of the checkpoint that it went on from. Unset: it began with the first step."""
    last_step: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The last optimizer step that it was seen to do; the next attempt does those again that no checkpoint has."""
    completion_time: Timestamp | None = None
    """When its end was seen."""
    reason: Annotated[str, StringConstraints(max_length=128)] | None = None
    """Why it ended, as a constant."""
    message: Annotated[str, StringConstraints(max_length=LONGEST_OF_ATTEMPT)] | None = None
    """Why it ended, as a sentence."""
    evidence: Annotated[
        list[Annotated[str, StringConstraints(max_length=LONGEST_EVIDENCE)]], Field(max_length=MOST_EVIDENCE)
    ] = Field([])
    """What was seen of its end in pods and RayJob; those are gone by now."""
    failed_node: NodeName | None = None
    """The node that its end points at: it was lost, and did not shut down in order, or an accelerator on it failed."""
    avoided_nodes: Annotated[list[NodeName], Field(max_length=MOST_AVOIDED)] = Field([])
    """The nodes that its pods avoid for a day, because two attempts failed on each. A suspension empties the list."""
    exempt: bool = False
    """Whether it costs none of `retry.maxAttempts`, as follows from its reason."""


class DroppedAttempts(ApiModel):
    """What the attempts that are no longer listed still count for."""

    failed: Annotated[int, Field(ge=0, le=MOST)] = 0
    """How many of them cost one of `retry.maxAttempts`."""
    reasons: Annotated[list[Annotated[str, StringConstraints(max_length=128)]], Field(max_length=64)] = Field([])
    """The reasons that they ended for, each once."""
    last_failed: Annotated[int, Field(ge=0, le=MOST)] = 0
    """The last of them that cost one, as attempts are counted; 0 if none did."""
    ran_seconds: Annotated[int, Field(ge=0, le=MOST)] = 0
    """How long they ran, all together, in seconds."""


class Summary(ApiModel):
    """The columns of `kubectl get` that one field does not say. Derived, and never read back."""

    progress: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Optimizer steps done, of all: `120/339`."""
    metric: Annotated[str, StringConstraints(max_length=128)] | None = None
    """The name and the value of `primaryMetric`."""
    workers: Annotated[str, StringConstraints(max_length=64)] | None = None
    """The workers that are ready, of those that the run needs: `3/4`."""


def _keyed_by(field: str) -> dict[str, Any]:
    """A list whose items the API server tells apart by a field, as it does for every condition list."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}


class FineTuneJobStatus(ApiModel):
    """What has been seen of the run."""

    observed_generation: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The generation of the spec that this status describes."""
    phase: Word | None = None
    """One word for people: Pending, Admitted, Running, Suspended, Succeeded or Failed. Derived from the conditions and
    never read back."""
    reason: Annotated[str, StringConstraints(max_length=128)] | None = None
    """Why it is in this phase, as a constant."""
    reason_since_time: Timestamp | None = None
    """Since when that has been the reason. A local run does not say it."""
    message: Sentence | None = None
    """Why it is in this phase and what it waits for, as a sentence."""
    workers: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The workers that the attempt needs."""
    ready_workers: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """The workers that are ready."""
    resolved: ResolvedSettings | None = None
    """What was left open in the manifest and what was chosen."""
    start_time: Timestamp | None = None
    """When the run started; from then on the spec is fixed."""
    completion_time: Timestamp | None = None
    """When the run ended."""
    run: Annotated[str, StringConstraints(max_length=64)] | None = None
    """The id of the run: the last folder of the output's path."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=_keyed_by("type"))] = Field([])
    """The conditions of the run."""
    attempts: Annotated[list[Attempt], Field(max_length=MOST_ATTEMPTS, json_schema_extra=_keyed_by("number"))] = Field(
        []
    )
    """The attempts, the last one last; of more than 10, those that count before those that are exempt."""
    dropped_attempts: DroppedAttempts | None = None
    """What the attempts that are no longer listed still count for. Unset: all are listed."""
    data: DataCounts | None = None
    """What the run read, in counts; known once the data is read."""
    progress: Progress | None = None
    """How far the training is."""
    checkpoint: CheckpointStatus | None = None
    """The checkpoints of the run. Unset: none was tried yet, or `training.checkpoints` asks for none."""
    metrics: Annotated[list[Metric], Field(max_length=256, json_schema_extra=_keyed_by("name"))] = Field([])
    """The final metrics."""
    primary_metric: Metric | None = None
    """The final value of `evaluation.primaryMetric`."""
    artifact: Artifact | None = None
    """The published result."""
    summary: Summary | None = None
    """The columns of `kubectl get` that one field does not say. A local run does not say it."""

    @property
    def workers_ready(self) -> str | None:
        """The workers that are ready, of those that the run needs: `3/4`; None while that is not known."""
        return None if self.workers is None else f"{self.ready_workers or 0}/{self.workers}"

    @property
    def summarized(self) -> Self:
        """The same with its summary."""
        progress, metric = self.progress, self.primary_metric
        summary = Summary(
            progress=f"{progress.step}/{progress.total_steps}" if progress else None,
            metric=f"{metric.name} {metric_text(metric.name, metric.value)}" if metric else None,
            workers=self.workers_ready,
        )
        return self.model_copy(update={"summary": summary if summary != Summary() else None})
