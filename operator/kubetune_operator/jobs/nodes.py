"""The nodes that attempts failed on, and those that the next one avoids. Pure.

Only what points at a fault of a node counts: that it was lost without a word, or that an accelerator on it failed. One
that shuts down in order has none. A node on which that happened to two attempts within a day is avoided by the attempts
of the day after that, or until somebody suspends the job.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from kubetune_api.reasons import Reason
from kubetune_api.status import MOST_AVOIDED, Attempt, FineTuneJobStatus
from kubetune_api.tables import listed
from kubetune_api.times import moment, timestamp
from kubetune_operator.jobs.failures import Failure, lost_nodes
from kubetune_operator.jobs.views import PodView

_TOO_OFTEN = 2
"""Failures on a node after which it is avoided: one may be chance."""
_A_DAY = timedelta(hours=24)
"""How long a failure counts, and how long a node is avoided: somebody may have repaired it."""


def failed_node(attempt: Attempt, failure: Failure | None, pods: tuple[PodView, ...]) -> str | None:
    """The node that what was seen so far of the attempt's end points at: of several the one seen first."""
    if failure is None or failure.reason != Reason.NODE_LOST:
        return None
    return attempt.failed_node or next(iter(lost_nodes(pods)), None)


def with_failed_node(attempt: Attempt, reason: str, message: str, pods: tuple[PodView, ...]) -> Attempt:
    """The attempt with the node that its end points at. The trainer names the pod whose accelerator failed."""
    node = attempt.failed_node if reason == Reason.NODE_LOST else None
    if reason == Reason.ACCELERATOR_FAILED:
        node = next((pod.node for pod in pods if pod.node and pod.name in message), None)
    return attempt.model_copy(update={"failed_node": node})


def avoided_after(attempts: Sequence[Attempt], now: datetime) -> list[str]:
    """The nodes that the attempt after these avoids, those that are known longest first."""
    since = list(takewhile(lambda attempt: attempt.reason != Reason.SUSPENDED, reversed(attempts)))
    if not since:
        return []
    recent = (
        attempt for attempt in reversed(since) if moment(attempt.completion_time or timestamp(now)) > now - _A_DAY
    )
    times = Counter(attempt.failed_node for attempt in recent if attempt.failed_node)
    known = [node for node in since[0].avoided_nodes if _avoided_since(node, since) > now - _A_DAY]
    new = [node for node, failures in times.items() if failures >= _TOO_OFTEN and node not in known]
    return [*known, *new][-MOST_AVOIDED:]


def _avoided_since(node: str, newest_first: Sequence[Attempt]) -> datetime:
    """Since when it has been avoided, as far as attempts are listed."""
    *_, first = takewhile(lambda attempt: node in attempt.avoided_nodes, newest_first)
    return moment(first.start_time)


def with_all_nodes(status: FineTuneJobStatus) -> FineTuneJobStatus:
    """The status of a suspended job: its next attempt may use every node. Where the suspension ended an attempt, that
    says so; else what points at nodes goes."""
    if not status.attempts or status.attempts[-1].reason == Reason.SUSPENDED:
        return status
    forgotten: dict[str, Any] = {"failed_node": None, "avoided_nodes": []}
    return status.model_copy(update={"attempts": [each.model_copy(update=forgotten) for each in status.attempts]})


def avoiding(attempt: Attempt) -> str:
    """Which nodes an attempt avoids, behind what its pods wait for; empty where it avoids none."""
    if not attempt.avoided_nodes:
        return ""
    return (
        f"; avoided, because two attempts failed there: {listed(attempt.avoided_nodes)}; to use them again, set"
        " spec.suspend to true, then to false"
    )
