"""Why a pod does not start, if nobody mends something outside of it, and what follows if that takes too long.

KubeRay gives each worker an init container that waits for the head, for ever: where the network keeps them apart,
nobody else ends that, and all of the attempt's hardware waits with it.

A registry that does not answer may answer the next attempt; an image that it does not have, or does not give, is the
same tomorrow. Who has to act depends on whose container it is: webhooks put those of others into our pods.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt
from kubetune_operator.jobs.below import event_view
from kubetune_operator.jobs.failures import Failure, who
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.views import PodView, Waiting
from kubetune_operator.machinery.kinds import EVENT
from kubetune_operator.machinery.questions import Question

_COMING = ("ContainerCreating", "PodInitializing", "CrashLoopBackOff")
"""What ends by itself. Our own containers are never started again; a crash of another's is for its owner to see."""
_REFUSED_IMAGE = ("InvalidImageName", "ErrImageNeverPull", "SignatureValidationFailed")
_UNFETCHED_IMAGE = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")
_FINAL = re.compile(
    r"not found|manifest unknown|name unknown|denied|unauthorized|forbidden|authentication required"
    r"|authorization failed|no basic auth|insufficient_scope|no match for platform",
    re.IGNORECASE,
)
"""What registries say, by way of the node, of an image that they have not or do not give."""
_WITHOUT_CAUSE = re.compile(r'(?:Back-off pulling image ("[^"]+"))?')
"""All that nodes older than Kubernetes 1.32 say of an image between two tries to fetch it."""
_OUTAGE = re.compile(
    r"time-?out|timed out|deadline exceeded|connection re|no route|unreachable|no such host|server misbehaving"
    r"|tls handshake|unexpected eof|too ?many ?requests|\b50[0234]\b|temporar",
    re.IGNORECASE,
)


def stuck_pods(pods: tuple[PodView, ...], *, begun: bool) -> dict[str, Failure]:
    """The pods that cannot start, by name, and why. Once the run has `begun`, neither containers of others count, nor
    a worker that waits for the head: Ray has had all of them."""
    head = None if begun else next((pod for pod in pods if pod.role == "head" and pod.ready and pod.lives), None)
    found = ((pod.name, _stuck(pod, not begun) or _apart(pod, head)) for pod in pods)
    return {name: failure for name, failure in found if failure is not None}


def untold(seen: Observed, attempt: Attempt) -> tuple[Question, ...]:
    """What is asked, once, before a pod is given up whose node does not say why it has no image: its events do."""
    if _failures(attempt) in seen.answers:
        return ()
    stuck = [pod for pod in seen.pods_of(attempt.number) if pod.name == attempt.stuck_pod]
    causeless = any(_has_no_cause(waiting) for pod in stuck for waiting in pod.waiting)
    return (_failures(attempt),) if causeless else ()


def with_cause(seen: Observed, attempt: Attempt) -> tuple[PodView, ...]:
    """The attempt's pods, the one that cannot start with what its events say of its images."""
    told = seen.answers.get(_failures(attempt)) or ()
    notes = [event.note for event in sorted(told, key=lambda event: event.at, reverse=True)]
    return tuple(
        replace(pod, waiting=tuple(_explained(waiting, notes) for waiting in pod.waiting))
        if pod.name == attempt.stuck_pod
        else pod
        for pod in seen.pods_of(attempt.number)
    )


def _failures(attempt: Attempt) -> Question:
    fields = f"regarding.name={attempt.stuck_pod},reason=Failed,type=Warning"
    return Question(EVENT, event_view, fields=fields, optional=True)


def _has_no_cause(waiting: Waiting) -> bool:
    return waiting.reason in _UNFETCHED_IMAGE and _WITHOUT_CAUSE.fullmatch(waiting.message) is not None


def _explained(waiting: Waiting, notes: Iterable[str]) -> Waiting:
    if not _has_no_cause(waiting):
        return waiting
    image = waiting.message.removeprefix("Back-off pulling image ")
    failed = f"Failed to pull image {image}"
    cause = next((note for note in notes if note.startswith(failed)), None)
    return waiting if cause is None else replace(waiting, message=cause)


def held(pod: PodView) -> Waiting | None:
    """The container that keeps a pod from starting, one of ours first."""
    waiting = [one for one in pod.waiting if one.reason not in ("ContainerCreating", "PodInitializing")]
    return min(waiting, key=lambda one: not one.ours, default=None)


def foreign(container: str) -> str:
    """A container that is not ours, in a sentence."""
    return f"the container {container}, which is not kubetune's"


def _stuck(pod: PodView, with_foreign: bool) -> Failure | None:
    waiting = held(pod)
    if waiting is not None and waiting.reason not in _COMING and (waiting.ours or with_foreign):
        return _by_its_words(pod, waiting)
    return _unprepared(pod) if pod.waiting and pod.prepared is False else None


def _apart(pod: PodView, head: PodView | None) -> Failure | None:
    if head is None or not pod.awaits_head or not pod.lives:
        return None
    return Failure(
        Reason.HEAD_UNREACHABLE,
        f"{who(pod)} does not reach {who(head)}, which is ready; the platform team must look at what keeps them apart:"
        " the settings of the cluster's DNS (operator.dnsPods, dnsPorts, dnsCidrs of the chart), another NetworkPolicy"
        " of the namespace, a service mesh",
    )


def _by_its_words(pod: PodView, waiting: Waiting) -> Failure:
    if waiting.reason in (*_REFUSED_IMAGE, *_UNFETCHED_IMAGE):
        return _without_image(pod, waiting)
    if waiting.reason == "CreateContainerConfigError" and waiting.ours:
        return _without_container(pod, waiting.message)
    said = f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason
    whose = "" if waiting.ours else f" because of {foreign(waiting.container)}"
    return Failure(Reason.POD_STUCK, f"{who(pod)} cannot start on its node{whose}: {said}{_remedy(waiting)}")


def _without_image(pod: PodView, waiting: Waiting) -> Failure:
    said = waiting.message or waiting.reason
    image = "the image" if waiting.ours else f"the image of {foreign(waiting.container)}"
    sentence = f"the node of {who(pod)} cannot fetch {image}: {said}"
    final = waiting.reason in _REFUSED_IMAGE or (_FINAL.search(said) and not _OUTAGE.search(said))
    if not final:
        remedy = "the registry may be away; the platform team must look at it, and at the nodes' way to it"
        return Failure(Reason.REGISTRY_UNAVAILABLE, f"{sentence}; {remedy}")
    remedy = "; the platform team must correct the profile's spec.image or spec.imagePullSecrets"
    return Failure(Reason.IMAGE_PULL_FAILED, sentence + (remedy if waiting.ours else _remedy(waiting)))


def _without_container(pod: PodView, said: str) -> Failure:
    """By the kubelet's own words, the one thing that tells a Secret that is missing from an image that runs as root."""
    if "runAsNonRoot" in said or "non-root" in said:
        return Failure(
            Reason.IMAGE_REFUSED,
            f"the node of {who(pod)} does not run the image: {said}; the platform team must give the image a USER that"
            " is a number and not 0, or names another one in the profile's spec.image",
        )
    if "secret" in said.lower() and ("not found" in said or "find key" in said):
        return Failure(
            Reason.SECRET_MISSING,
            f"{who(pod)} cannot start: {said}; create what is missing in the job's namespace, or correct"
            " spec.credentials",
        )
    return Failure(Reason.POD_STUCK, f"{who(pod)} cannot start on its node: {said or 'the node does not say why'}")


def _unprepared(pod: PodView) -> Failure:
    """A Secret that is missing and a network that is not set up look the same in a pod; its events tell them apart."""
    remedy = "the platform team must fix the node"
    if pod.secrets:
        remedy = (
            f"create the Secrets {', '.join(pod.secrets)} in the job's namespace if they are missing, or correct"
            f" spec.credentials{' or spec.signing of the profile' if pod.signs else ''}; where they are there, {remedy}"
        )
    return Failure(
        Reason.POD_STUCK,
        f"{who(pod)} has a node, and there no volumes or no network; {remedy} (`kubectl get events --field-selector"
        f" involvedObject.name={pod.name}` says which it is)",
    )


def _remedy(waiting: Waiting) -> str:
    return "" if waiting.ours else "; whoever adds it to pods (a webhook, a service mesh) must mend it, or spare ours"
