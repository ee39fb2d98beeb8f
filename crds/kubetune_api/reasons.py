"""Why a condition, a job or an attempt is as it is: one row for each reason.

The constants, what the operator believes of a trainer's report, what follows from the end of an attempt, the labels of
metrics, the exit code of the command line and the table on the API's page follow from the rows.
`docs/troubleshooting.md` explains each at length; a test demands it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Speaker = Literal["Trainer", "Cluster", "Operator"]
Turn = Literal["User", "Platform", "Nobody"]
Retry = Literal["Never", "Counted", "Exempt", "ExemptOnce", "ExemptIfSaved", "ExemptIfSmaller"]

PAGE = "docs/troubleshooting.md"
"""The page that explains each reason."""
STRONGEST = 7
"""The strength of a word on an attempt's end that no other word overrules."""


@dataclass(frozen=True)
class ReasonRow:
    """One reason."""

    meaning: str
    """What it says, in one sentence."""
    said_by: tuple[Speaker, ...]
    """Who says it: the trainer in its report, the cluster by what is seen of pods and RayJobs, the operator itself."""
    turn: Turn
    """Who has to act first, if anybody has."""
    retry: Retry | None = None
    """Whether another attempt follows one that ended so, and whether it costs one of `retry.maxAttempts`; `ExemptOnce`
    costs none the first time, `ExemptIfSaved` none where the attempt has committed a checkpoint, `ExemptIfSmaller` none
    where the next one takes a smaller micro-batch, and else it is `Never`. None: no attempt ends so, or the job is
    done."""
    strength: int = STRONGEST
    """Of two words on the end of one attempt the stronger counts."""
    invalid_input: bool = False
    """Whether the manifest or what it names cannot be used: `kubetune run` exits with 2."""


REASONS: dict[str, ReasonRow] = {}
"""The rows, by the reason that statuses name."""


def _rows(*said_by: Speaker) -> Callable[..., str]:
    def row(
        name: str,
        meaning: str,
        turn: Turn,
        retry: Retry | None = None,
        *,
        also: tuple[Speaker, ...] = (),
        strength: int = STRONGEST,
        invalid_input: bool = False,
    ) -> str:
        REASONS[name] = ReasonRow(meaning, (*said_by, *also), turn, retry, strength, invalid_input)
        return name

    return row


_trainer, _cluster, _operator = _rows("Trainer"), _rows("Cluster"), _rows("Operator")


class Reason:
    """The reasons as constants, so that alerts and scripts can rely on them. Each line is a row of `REASONS`."""

    # How a run ended, as the trainer knows it.
    PUBLISHED = _trainer("ModelPublished", "The model is verified and published.", "Nobody")
    REQUIREMENT_MISSED = _trainer(
        "RequirementMissed", "The model is worse than `evaluation.require` asks.", "User", "Never"
    )
    INVALID_MANIFEST = _trainer(
        "InvalidManifest",
        "A field of the manifest cannot be used.",
        "User",
        "Never",
        also=("Operator",),
        invalid_input=True,
    )
    INVALID_MODEL = _trainer(
        "InvalidModel",
        "The pretrained model is missing, incomplete, unsafe, or does not fit the task.",
        "User",
        "Never",
        invalid_input=True,
    )
    INVALID_DATA = _trainer(
        "InvalidData",
        "The dataset is missing, cannot be read, or does not fit the task.",
        "User",
        "Never",
        invalid_input=True,
    )
    STORAGE_FAILED = _trainer("StorageFailed", "A store does not answer, or a disk is full.", "Platform", "Counted")
    CREDENTIALS_REFUSED = _trainer(
        "CredentialsRefused", "A store or the hub refused the credentials, or there were none.", "User", "Never"
    )
    NOT_FINITE = _trainer(
        "LossNotFinite", "The loss or its gradients became infinite or not a number.", "User", "Never"
    )
    LOSS_SPIKE = _trainer("LossSpike", "The loss of a step was far above those before it.", "User", "Never")
    ROLLED_BACK = _trainer(
        "RolledBack",
        "The loss of a step was far above those before it; other rows follow the last checkpoint.",
        "Nobody",
        "Counted",
    )
    HUNG = _trainer("Hung", "Nothing moved in the training any more.", "Platform", "Counted")
    VERIFICATION_FAILED = _trainer(
        "VerificationFailed", "The model in the store is not the one that was trained.", "User", "Never"
    )
    OUT_OF_MEMORY = _trainer(
        "OutOfMemory",
        "A container went over its memory limit, or an accelerator has no memory left.",
        "User",
        "ExemptIfSmaller",
        also=("Cluster",),
        strength=6,
    )
    ACCELERATOR_FAILED = _trainer(
        "AcceleratorFailed",
        "A GPU, its memory or the connection between GPUs failed.",
        "Platform",
        "ExemptOnce",
        strength=2,
    )
    INTERRUPTED = _trainer(
        "Interrupted",
        "The trainer was asked to stop, and no pod shows why.",
        "Nobody",
        "ExemptIfSaved",
        also=("Operator",),
        strength=1,
    )
    UNKNOWN = _trainer("Unknown", "Anything else.", "User", "Counted", also=("Operator",), strength=0)

    # How an attempt ended, as the cluster shows it.
    PREEMPTED = _cluster(
        "Preempted", "A pod was preempted, or the queue reclaimed the hardware.", "Nobody", "Exempt", strength=5
    )
    NODE_LOST = _cluster("NodeLost", "The node of a pod disappeared or shut down.", "Nobody", "Exempt", strength=4)
    EVICTED = _cluster(
        "Evicted",
        "A node was short of memory or disk, or a pod used too much.",
        "Platform",
        "ExemptIfSaved",
        strength=3,
    )
    IMAGE_PULL_FAILED = _cluster("ImagePullFailed", "The image of a pod cannot be fetched.", "Platform", "Never")
    IMAGE_REFUSED = _cluster("ImageRefused", "A node refuses the image, because it runs as root.", "Platform", "Never")
    SECRET_MISSING = _cluster("SecretMissing", "A container needs a Secret that does not exist.", "Platform", "Never")
    REGISTRY_UNAVAILABLE = _cluster(
        "RegistryUnavailable", "The registry of an image does not answer.", "Platform", "Counted"
    )
    POD_STUCK = _cluster(
        "PodStuck", "A pod has no volumes or no network on its node, or no container.", "User", "Counted"
    )
    HEAD_UNREACHABLE = _cluster(
        "HeadUnreachable", "A worker does not reach the head, which is ready.", "Platform", "Counted"
    )
    KUBERAY_REFUSED = _cluster("KubeRayRefused", "KubeRay refuses the RayJob.", "Platform", "Never")
    REPORT_LOST = _operator(
        "ReportLost", "The trainer succeeded, but its final report did not arrive.", "Nobody", "ExemptOnce"
    )
    ATTEMPT_DELETED = _cluster(
        "AttemptDeleted", "The attempt's RayJob was deleted by someone else.", "Nobody", "ExemptIfSaved", strength=2
    )
    FEWER_WORKERS = _operator(
        "FewerWorkers", "Only some workers had a node for ten minutes, and `minWorkers` allows it.", "Nobody", "Exempt"
    )
    DEADLINE_EXCEEDED = _operator(
        "DeadlineExceeded", "The attempts together ran longer than `activeDeadlineSeconds`.", "User", "Never"
    )
    SUSPENDED = _operator("Suspended", "`spec.suspend` is true.", "User", "Exempt")

    # What a job is refused for before it runs.
    PROFILE_NOT_FOUND = _operator("ProfileNotFound", "There is no FineTuneProfile of that name.", "User")
    PROFILE_FORBIDS = _operator("ProfileForbids", "The profile does not allow the job.", "User")
    DOES_NOT_FIT = _operator("DoesNotFit", "The job needs more memory or disk than the profile gives it.", "User")

    # What a job waits for, or that it waits for nothing any more.
    ACCEPTED = _operator("Accepted", "The profile allows the job.", "Nobody")
    KUBERAY_MISSING = _operator("KubeRayMissing", "The API server does not know RayJobs.", "Platform")
    CREATION_REFUSED = _operator("CreationRefused", "The API server refuses an object of the job.", "Platform")
    WAITING_FOR_QUOTA = _operator("WaitingForQuota", "Kueue has not admitted the job.", "Nobody")
    WAITING_FOR_NODES = _operator("WaitingForNodes", "The scheduler has no node for a pod.", "Platform")
    WAITING_FOR_PODS = _operator("WaitingForPods", "The pods are not created, or not ready.", "Nobody")
    WAITING_TO_RETRY = _operator("WaitingToRetry", "The delay before the next attempt.", "Nobody")
    CLEANING_UP = _operator("CleaningUp", "Objects of an attempt that has ended still exist.", "Nobody")
    STARTING = _operator("Starting", "The attempt is created, or Ray and the trainer start.", "Nobody")
    TRAINING = _operator("Training", "The model trains.", "Nobody")
    RESUMED = _operator("Resumed", "`spec.suspend` became false again.", "Nobody")
    CHECKPOINT_SAVED = _operator("CheckpointSaved", "The last checkpoint that was due is saved.", "Nobody")
    CHECKPOINT_FAILED = _operator(
        "CheckpointFailed", "The last checkpoint could not be saved; the training goes on.", "Platform"
    )


def help_on(reason: str) -> str:
    """The page and its heading that explain a reason."""
    return f"{PAGE}#{reason.lower()}"


TRAINER_FAILURES = frozenset(name for name, row in REASONS.items() if "Trainer" in row.said_by and row.retry)
"""What a trainer's report may name as the reason of a failure."""
INPUT_REASONS = frozenset(name for name, row in REASONS.items() if row.invalid_input)
"""What the author of the manifest or of its data has to correct: `kubetune run` exits with 2."""
