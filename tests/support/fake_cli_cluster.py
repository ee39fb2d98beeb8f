"""A cluster for the commands that read one: jobs, pods and logs as a test says, and errors when a test wants them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from kubetune_cli.jobs import ClusterError, Job, LogLine, NoSuchJobError, NoSuchPodError, Pod

T = TypeVar("T")
STARTED = "2026-01-01T00:00:00Z"
ENDED = "2026-01-01T00:10:00Z"


def job(name: str = "reviews", *, namespace: str = "team-a", uid: str = "uid-1", **status: Any) -> Job:
    """A job with this status; its version tells one status from another."""
    found = {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "resourceVersion": str(abs(hash(repr(status)))),
            "creationTimestamp": STARTED,
        },
        "status": status,
    }
    return Job.parse(found)


def running(step: int = 3) -> Job:
    """A job in the middle of its training, in its first attempt."""
    progress = {
        "step": step,
        "totalSteps": 9,
        "epoch": step / 9,
        "loss": 0.25,
        "tokensPerSecond": 1234.5,
        "secondsLeft": 75.4,
    }
    return job(
        phase="Running", reason="Training", message="Training with 2 workers.", progress=progress, attempts=[attempt(1)]
    )


def succeeded(**more: Any) -> Job:
    """A job that published its model in its first attempt."""
    ended = attempt(1, completionTime=ENDED, reason="ModelPublished", message="The model was published.")
    return job(phase="Succeeded", reason="ModelPublished", message="Published.", attempts=[ended], **more)


def failed(**more: Any) -> Job:
    """A job whose second attempt was its last."""
    attempts = [
        attempt(1, completionTime=ENDED, reason="NodeLost", message="The node was lost.", exempt=True),
        attempt(
            2, completionTime=ENDED, reason="OutOfMemory", message="A worker ran out of memory.", evidence=["exit 137"]
        ),
    ]
    return job(phase="Failed", reason="OutOfMemory", message="A worker ran out of memory.", attempts=attempts, **more)


def attempt(number: int, **more: Any) -> dict[str, Any]:
    return {"number": number, "rayJob": f"reviews-uid1-{number}", "startTime": STARTED, **more}


def artifact(**more: Any) -> dict[str, Any]:
    return {
        "uri": "s3://models/model",
        "manifestUri": "s3://models/manifest.json",
        "reportUri": "s3://models/report.html",
        "digest": f"sha256:{'0' * 64}",
        "sizeBytes": 1000,
        **more,
    }


def pod(role: str = "submitter", attempt: int = 1, *, number: int = 0, phase: str = "Running", **more: Any) -> Pod:
    name = f"reviews-uid1-{attempt}-{role}-{number}"
    return Pod("team-a", name, f"uid-of-{name}", STARTED, role, attempt, role, phase, **more)


def lines(*texts: str, minute: int = 0) -> list[LogLine]:
    """Lines of a log, a second apart."""
    return [LogLine(f"2026-01-01T00:{minute:02}:{second:02}.5Z", text) for second, text in enumerate(texts)]


@dataclass
class FakeCluster:
    """What a test lets a command see. Each list of states is gone through; its last one stays."""

    states: list[Job | ClusterError] = field(default_factory=list)
    """What each look at the job finds."""
    others: list[Job] = field(default_factory=list)
    watches: list[list[Job | ClusterError]] = field(default_factory=list)
    """What each watch tells before it ends."""
    pods_seen: list[list[Pod] | ClusterError] = field(default_factory=lambda: [[]])
    logs: dict[str, list[list[LogLine | ClusterError]]] = field(default_factory=dict)
    """By the pod's name, what each reading of its log gives; without any, the pod is gone."""
    listable: bool = True
    namespace: str = "team-a"
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The options of each reading of a log."""

    def jobs(self, *, everywhere: bool = False) -> list[Job]:
        if not self.listable:
            raise ClusterError("forbidden")
        known = [*self.others, *[state for state in self.states[:1] if isinstance(state, Job)]]
        return [found for found in known if everywhere or found.namespace == self.namespace]

    def job(self, name: str) -> Job:
        state = _next(self.states) if self.states else NoSuchJobError(name)
        if isinstance(state, ClusterError):
            raise state
        if state.name != name:
            raise NoSuchJobError(name)
        return state

    def watch(self, job: Job) -> Iterator[Job]:
        yield from _told(self.watches.pop(0) if self.watches else [])

    def pods(self, job: Job) -> list[Pod]:
        found = _next(self.pods_seen)
        if isinstance(found, ClusterError):
            raise found
        return found

    def log(self, pod: Pod, *, follow: bool = False, tail: int | None = None, since: str = "") -> Iterator[LogLine]:
        self.asked.append({"pod": pod.name, "follow": follow, "tail": tail, "since": since})
        if pod.name not in self.logs:
            raise NoSuchPodError(pod.name)
        yield from _told(_next(self.logs[pod.name]))


def ended(found: Pod) -> Pod:
    """The pod once its containers have ended."""
    return replace(found, phase="Succeeded")


def _next(states: list[T]) -> T:
    return states.pop(0) if len(states) > 1 else states[0]


def _told(items: list[T | ClusterError]) -> Iterator[T]:
    for item in items:
        if isinstance(item, ClusterError):
            raise item
        yield item
