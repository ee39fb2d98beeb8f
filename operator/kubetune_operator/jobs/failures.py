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
_SENTENCES = {
    Reason.PREEMPTED: "{who} was preempted",
    Reason.NODE_LOST: "the node of {who} disappeared",
    Reason.EVICTED: "{who} was evicted by its node",
}


def policy(reason: str, earlier: Iterable[str | None] = ()) -> Policy:
    """What follows from a reason, after attempts that ended for the earlier ones. One of no row is never retried."""
    retry = REASONS[reason].retry if reason in REASONS else "Never"
    if retry == "ExemptOnce":  # the next attempt cures it at once, or no attempt does
        retry = "Counted" if reason in earlier else "Exempt"
    return Policy(retry=retry in ("Counted", "Exempt"), exempt=retry == "Exempt")


def seen_in(pods: Iterable[PodView]) -> Failure | None:
    """The strongest of what the pods show."""
    found = [failure for pod in pods for failure in _failures_of(pod)]
    return max(found, key=lambda failure: _strength(failure.reason), default=None)


def stronger(one: Failure, other: Failure | None) -> Failure:
    """The one that says more; what the trainer knows by name is stronger than anything."""
    return other if other is not None and _strength(other.reason) > _strength(one.reason) else one


def evidence_in(pods: Iterable[PodView]) -> list[str]:
    """One line for each thing that went wrong in a pod."""
    return [line for pod in pods for line in _evidence_of(pod)]


def head_ended(evidence: Iterable[str]) -> bool:
    """Whether the evidence of an attempt shows that its head ended by itself: not by a signal, as deleted ones do."""
    return any(re.search(r": container head ended with (?!137|143)", line) for line in evidence)


def stuck(pod: PodView) -> Failure | None:
    """Why a pod does not start, if nobody mends something outside of it."""
    for waiting in pod.waiting:
        if waiting.reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
            return Failure(
                Reason.IMAGE_PULL_FAILED,
                f"the node of {_who(pod)} cannot fetch the image: {waiting.message or waiting.reason}; the platform"
                " team must correct the profile's spec.image or spec.imagePullSecrets",
            )
        if waiting.reason == "CreateContainerConfigError":
            return _without_container(pod, waiting.message)
    return _unprepared(pod) if pod.waiting and pod.prepared is False else None


def _without_container(pod: PodView, said: str) -> Failure:
    """By the kubelet's own words, the one thing that tells a Secret that is missing from an image that runs as root."""
    if "runAsNonRoot" in said or "non-root" in said:
        return Failure(
            Reason.IMAGE_REFUSED,
            f"the node of {_who(pod)} does not run the image: {said}; the platform team must give the image a USER that"
            " is a number and not 0, or names another one in the profile's spec.image",
        )
    if "secret" in said.lower() and ("not found" in said or "find key" in said):
        return Failure(
            Reason.SECRET_MISSING,
            f"{_who(pod)} cannot start: {said}; create what is missing in the job's namespace, or correct"
            " spec.credentials",
        )
    return Failure(Reason.POD_STUCK, f"{_who(pod)} cannot start on its node: {said or 'the node does not say why'}")


def _unprepared(pod: PodView) -> Failure:
    """A Secret that is missing and a network that is not set up look the same in a pod; its events tell them apart."""
    remedy = "the platform team must fix the node"
    if pod.secrets:
        remedy = (
            f"create the Secrets {', '.join(pod.secrets)} in the job's namespace if they are missing, or correct"
            f" spec.credentials; where they are there, {remedy}"
        )
    return Failure(
        Reason.POD_STUCK,
        f"{_who(pod)} has a node, and there no volumes or no network; {remedy} (`kubectl get events --field-selector"
        f" involvedObject.name={pod.name}` says which it is)",
    )


def _failures_of(pod: PodView) -> list[Failure]:
    found = [_out_of_memory(pod)] if any(ended.reason == "OOMKilled" for ended in pod.ended) else []
    # The kubelet's own word is finer: TerminationByKubelet stands for evictions, preemptions and shutdowns alike.
    reason = _POD_REASONS.get(pod.reason) or (_DISRUPTIONS.get(pod.disruption[0]) if pod.disruption else None)
    if reason:
        said = (pod.disruption[1] if pod.disruption else pod.message) or "the cluster does not say why"
        found.append(Failure(reason, f"{_SENTENCES[reason].format(who=_who(pod))}: {said}"))
    return found


def _out_of_memory(pod: PodView) -> Failure:
    remedy = (
        "raise spec.head.memory of the profile, or use less data"
        if pod.role == "head"
        else "lower spec.training.microBatchSize or spec.task.maxLength, raise spec.zero.stage, use more workers, or"
        " raise spec.worker.memory of the profile"
    )
    return Failure(Reason.OUT_OF_MEMORY, f"{_who(pod)} went over its memory limit and was killed; {remedy}")


def _evidence_of(pod: PodView) -> list[str]:
    lines = [
        f"pod {pod.name}: container {ended.container} ended with {ended.exit_code} ({ended.reason})"
        + (f": {ended.message}" if ended.message else "")
        for ended in pod.ended
        if ended.exit_code
    ]
    if pod.disruption:
        lines.append(f"pod {pod.name}: {pod.disruption[0]}: {pod.disruption[1]}")
    if pod.reason:
        lines.append(f"pod {pod.name}: {pod.reason}: {pod.message}")
    return lines


def _who(pod: PodView) -> str:
    return f"the {pod.role or 'pod'} {pod.name}"


def _strength(reason: str) -> int:
    return REASONS[reason].strength if reason in REASONS else STRONGEST
