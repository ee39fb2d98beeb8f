"""An attempt for which there are not enough nodes, and the next one, which has as many workers as had a node. Pure.

Only where the job says how few workers will do. Nothing tells when there are nodes for all again, so that each attempt
that does not follow such an end asks for all. What memory so few need is known of some models alone: so many as ran out
of memory, or fewer, are not tried again.
"""

from dataclasses import replace
from datetime import timedelta

from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt
from kubetune_operator.jobs.failures import Failure, head_had_no_memory
from kubetune_operator.jobs.memory import planned
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.resolve import Resolved, filled_in
from kubetune_operator.jobs.views import PodView

PATIENCE = timedelta(seconds=600)
"""How long a pod looks for a node before the others go on without it: about twice what a new node takes to come."""


def workers_of(seen: Observed) -> int:
    """The workers that the current attempt needs."""
    fewer = seen.job.attempt.workers if seen.job.attempt else None
    return fewer or seen.job.job.spec.resources.workers or 1


def without_nodes(seen: Observed, attempt: Attempt, pods: tuple[PodView, ...]) -> dict[str, Failure]:
    """The workers that find no node, by their pods, and how the others go on without them; empty where they do not."""
    fewest, workers = seen.job.job.spec.resources.min_workers, workers_of(seen)
    if fewest is None or attempt.running_time is not None:
        return {}
    waiting = [pod.name for pod in pods if pod.role == "worker" and pod.lives and pod.unscheduled is not None]
    placed = _placed(pods)
    has_head = any(pod.role == "head" and pod.node for pod in pods)
    fewest = max(fewest, _too_few(seen) + 1)
    if not waiting or not has_head or not fewest <= placed < workers or not _fits(seen, placed):
        return {}
    failure = Failure(
        Reason.FEWER_WORKERS,
        f"for {PATIENCE.total_seconds():.0f} seconds {placed} of {workers} workers had a node, and {waiting[0]} had"
        f" none; the next attempt has {placed}, of which spec.resources.minWorkers says that they will do",
    )
    return dict.fromkeys(waiting, failure)


def with_placed(attempt: Attempt, reason: str, pods: tuple[PodView, ...]) -> Attempt:
    """An attempt that ends for this reason, with the workers that had a node where others had none."""
    return attempt if reason != Reason.FEWER_WORKERS else attempt.model_copy(update={"workers": _placed(pods)})


def workers_after(last: Attempt | None) -> int | None:
    """The workers of the attempt after the last one; None: all."""
    return last.workers if last is not None and last.reason == Reason.FEWER_WORKERS else None


def of_size(resolved: Resolved, workers: int | None) -> Resolved:
    """The same with so many workers; None: all."""
    return resolved if workers is None else replace(resolved, workers=workers)


def ran_out_as_fewer(attempt: Attempt, reason: str) -> bool:
    """Whether an attempt that ends for this reason had too little memory because it had fewer workers than all."""
    return reason == Reason.OUT_OF_MEMORY and attempt.workers is not None and not head_had_no_memory(attempt.evidence)


def _too_few(seen: Observed) -> int:
    """The most workers of those attempts; 0 without any."""
    ended = (each for each in seen.job.status.attempts if ran_out_as_fewer(each, each.reason or ""))
    return max((each.workers or 0 for each in ended), default=0)


def _placed(pods: tuple[PodView, ...]) -> int:
    return sum(pod.workers for pod in pods if pod.role == "worker" and pod.lives and pod.node)


def _fits(seen: Observed, workers: int) -> bool:
    """Whether the memory of so few is enough."""
    return seen.profile is not None and not isinstance(planned(filled_in(seen.job.job), seen.profile, workers), str)
