"""Why an attempt failed, as the cluster shows it, and what follows from each reason.

A pod that was killed cannot say why, and KubeRay deletes failed pods: what is seen of them is kept the moment it is
seen, as the attempt's provisional reason.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kubetune_api.reasons import REASONS, STRONGEST, Reason
from kubetune_operator.jobs.views import PodView


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed."""

    reason: str
    message: str


@dataclass(frozen=True)
class Policy:
    """What follows from a reason."""

    retry: bool
    exempt: bool = False
    """A retry that costs none of the attempts."""


_DISRUPTIONS = {
    "PreemptionByScheduler": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
    "EvictionByEvictionAPI": Reason.PREEMPTED,
    "TerminationByKubelet": Reason.EVICTED,
}
_POD_REASONS = {
    "Evicted": Reason.EVICTED,
    "NodeLost": Reason.NODE_LOST,
    "NodeShutdown": Reason.NODE_LOST,
    "Terminated": Reason.NODE_LOST,
    "NodeAffinity": Reason.NODE_LOST,
    "Preempting": Reason.PREEMPTED,
}
_IN_ORDER = ("NodeShutdown", "Terminated", "NodeAffinity")
"""Of those of a lost node what the kubelet itself says: that the node shuts down, or that the pod may not be there."""
_LOST_CONTAINER = "ContainerStatusUnknown"
"""What the kubelet says of a container that it does not find any more, as after a crash of the node."""
_SHOWN = {"OOMKilled": Reason.OUT_OF_MEMORY, _LOST_CONTAINER: Reason.NODE_LOST, **_DISRUPTIONS, **_POD_REASONS}
"""The words of pods that stand for a reason."""
_FOREIGN = " (not kubetune's)"
"""Behind the name of a container that a webhook put into a pod of ours."""
_SENTENCES = {
    Reason.PREEMPTED: "{who} was preempted",
    Reason.NODE_LOST: "the node of {who} disappeared",
    Reason.EVICTED: "{who} was evicted by its node",
}


def who(pod: PodView) -> str:
    """The pod, in a sentence."""
    return f"the {pod.role or 'pod'} {pod.name}"


def policy(
    reason: str,
    earlier: Iterable[str | None] = (),
    *,
    saved: bool = False,
    smaller: bool = False,
    fewer: bool = False,
) -> Policy:
    """What follows from a reason, after attempts that ended for the earlier ones; `saved`: this one has committed a
    checkpoint, so that there is an end to such attempts; `smaller`: the next one can take a smaller micro-batch;
    `fewer`: it lacked memory with fewer workers than the next one has. One of no row is never retried."""
    retry = REASONS[reason].retry if reason in REASONS else "Never"
    if retry == "ExemptIfSmaller":
        retry = "Counted" if fewer else "Exempt" if smaller else "Never"
    if retry == "ExemptOnce":  # the next attempt cures it at once, or no attempt does
        retry = "Counted" if reason in earlier else "Exempt"
    if retry == "ExemptIfSaved":
        retry = "Exempt" if saved else "Counted"
    return Policy(retry=retry in ("Counted", "Exempt"), exempt=retry == "Exempt")


def seen_in(pods: Iterable[PodView]) -> Failure | None:
    """The strongest of what the pods show."""
    found = [failure for pod in pods for failure in _failures_of(pod)]
    return max(found, key=lambda failure: _strength(failure.reason), default=None)


def stronger(one: Failure, other: Failure | None) -> Failure:
    """The one that says more; what the trainer knows by name is stronger than anything."""
    return other if other is not None and _strength(other.reason) > _strength(one.reason) else one


def counting(pods: Iterable[PodView], workers: int) -> tuple[PodView, ...]:
    """The pods that the end of an attempt may be due to: not those that others have replaced."""
    pods = tuple(pods)
    replaced = {"head": head_lives(pods), "worker": workers_ready(pods) >= workers}
    return tuple(pod for pod in pods if pod.lives or not replaced.get(pod.role))


def whole(pods: tuple[PodView, ...], workers: int) -> bool:
    """Whether the head and all workers are there."""
    return head_lives(pods) and workers_ready(pods) >= workers


def head_lives(pods: Iterable[PodView]) -> bool:
    """Whether there is a head that runs, or may still start."""
    return any(pod.role == "head" and pod.lives for pod in pods)


def workers_ready(pods: Iterable[PodView]) -> int:
    """The ranks in pods that are ready."""
    return sum(pod.workers for pod in pods if pod.ready and not pod.deleting)


def evidence_in(pods: Iterable[PodView]) -> list[str]:
    """One line for each thing that went wrong in a pod."""
    return [line for pod in pods for line in _evidence_of(pod)]


def weightiest(lines: Iterable[str], most: int) -> list[str]:
    """Of more lines of evidence than a status takes those that say most, and of two alike the one seen first."""
    lines = list(dict.fromkeys(lines))
    places = sorted(range(len(lines)), key=lambda place: -_weight(lines[place]))[:most]
    return [lines[place] for place in sorted(places)]


def head_ended(evidence: Iterable[str]) -> bool:
    """Whether the evidence of an attempt shows that its head ended by itself: not by a signal, as deleted ones do."""
    return any(re.search(r": container head ended with (?!137|143)", line) for line in evidence)


def head_had_no_memory(evidence: Iterable[str]) -> bool:
    """Whether the evidence of an attempt shows that its head went over its memory limit."""
    return any(re.search(r": container head ended with \d+ \(OOMKilled\)", line) for line in evidence)


def lost_nodes(pods: Iterable[PodView]) -> list[str]:
    """The nodes of the pods that show that theirs was lost, and did not shut down in order."""
    lost = (pod for pod in pods if any(failure.reason == Reason.NODE_LOST for failure in _failures_of(pod)))
    return [pod.node for pod in lost if pod.node and pod.reason not in _IN_ORDER]


def _failures_of(pod: PodView) -> list[Failure]:
    killed = any(ended.reason == "OOMKilled" and ended.ours for ended in pod.ended)
    found = [_out_of_memory(pod)] if killed else []
    # The kubelet's own word is finer: TerminationByKubelet stands for evictions, preemptions and shutdowns alike.
    reason = _POD_REASONS.get(pod.reason) or (_DISRUPTIONS.get(pod.disruption[0]) if pod.disruption else None)
    if reason:
        said = (pod.disruption[1] if pod.disruption else pod.message) or "the cluster does not say why"
        found.append(Failure(reason, f"{_SENTENCES[reason].format(who=who(pod))}: {said}"))
    elif any(ended.reason == _LOST_CONTAINER and ended.ours for ended in pod.ended):
        found.append(Failure(Reason.NODE_LOST, f"the node of {who(pod)} has lost its container, as after a crash"))
    return found


def _out_of_memory(pod: PodView) -> Failure:
    remedy = (
        "raise spec.head.memory of the profile, or use less data"
        if pod.role == "head"
        else "lower spec.training.microBatchSize or spec.task.maxLength, raise spec.zero.stage, use more workers, or"
        " raise spec.worker.memory of the profile"
    )
    return Failure(Reason.OUT_OF_MEMORY, f"{who(pod)} went over its memory limit and was killed; {remedy}")


def _evidence_of(pod: PodView) -> list[str]:
    lines = [
        f"pod {pod.name}: container {ended.container}{'' if ended.ours else _FOREIGN} ended with {ended.exit_code}"
        f" ({ended.reason})" + (f": {ended.message}" if ended.message else "")
        for ended in pod.ended
        if ended.exit_code
    ]
    if pod.disruption:
        lines.append(f"pod {pod.name}: {pod.disruption[0]}: {pod.disruption[1]}")
    if pod.reason:
        lines.append(f"pod {pod.name}: {pod.reason}: {pod.message}")
    return lines


def _weight(line: str) -> int:
    if _FOREIGN in line:
        return -1
    return max((_strength(_SHOWN[word]) for word in re.findall(r"\w+", line) if word in _SHOWN), default=0)


def _strength(reason: str) -> int:
    return REASONS[reason].strength if reason in REASONS else STRONGEST
