"""What is measured of jobs, for Prometheus. `docs/metrics.md` explains each metric.

Counters and histograms grow with what happens; what is so at the moment is counted from the cache when Prometheus asks,
so a deleted job leaves no series behind, and neither does a deleted namespace. The values of labels are bounded: a
tenant cannot invent new ones.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kubetune_api.reasons import REASONS, Reason
from kubetune_api.status import Attempt, FineTuneJobStatus
from kubetune_api.times import moment
from kubetune_operator.jobs.checkpoints import failed_saves, steps_done_again
from kubetune_operator.jobs.events import attempt_changes
from kubetune_operator.jobs.observed import JobView
from kubetune_operator.jobs.run_gauges import RunSample, collected, described, run_sample
from kubetune_operator.machinery.metrics import counter, histogram, known

_ENDS = frozenset({Reason.PUBLISHED, *(name for name, row in REASONS.items() if row.retry)})
"""What an attempt can end for."""
_NOT_RUNNING = frozenset({"Pending", "Admitted"})

_MOST_AT_ONCE = 10**6
"""What one change of a status adds to a counter at most: the numbers are the tenants'."""

_HOUR, _DAY = 3600, 86400
_QUEUE_BUCKETS = (5, 15, 30, 60, 120, 300, 900, _HOUR, 4 * _HOUR, 12 * _HOUR, _DAY, 3 * _DAY)
_RUN_BUCKETS = (60, 300, 900, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY)


@dataclass(frozen=True)
class JobSample:
    """What is counted of a job."""

    namespace: str
    phase: str
    reason: str
    since: datetime
    """Since when that has been the reason."""
    run: RunSample | None = None
    """What is measured of it while it runs."""


class JobMetrics:
    """The metrics of jobs, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._namespaces: set[str] = set()
        """Those with counted series."""
        self._queue_seconds = histogram(
            registry,
            "job_queue_seconds",
            "Time from the start of a job to its first training.",
            _QUEUE_BUCKETS,
            "namespace",
        )
        self._run_seconds = histogram(
            registry, "job_run_seconds", "Time that an attempt trained, once it has ended.", _RUN_BUCKETS, "namespace"
        )
        self._attempts = counter(registry, "attempts", "Attempts that ended, by their reason.", "namespace", "reason")
        self._steps_lost = counter(
            registry, "steps_lost", "Optimizer steps that later attempts of a job did again.", "namespace"
        )
        self._failed_saves = counter(
            registry, "checkpoint_failures", "Checkpoints that could not be saved.", "namespace"
        )
        self._planner_refusals = counter(
            registry, "planner_refusals", "Jobs that the planner refused, because they do not fit."
        )

    def collect_jobs(
        self,
        jobs: Callable[[], Iterable[JobSample]],
        now: Callable[[], datetime],
        exists: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Counts these jobs whenever Prometheus asks, and forgets the namespaces that exist no more."""
        self.registry.register(_Jobs(jobs, now, lambda: self._forget_all_but(exists)))

    def _forget_all_but(self, exists: Callable[[str], bool]) -> None:
        for namespace in [name for name in list(self._namespaces) if not exists(name)]:
            self._namespaces.discard(namespace)
            for series in (
                self._queue_seconds,
                self._run_seconds,
                self._attempts,
                self._steps_lost,
                self._failed_saves,
            ):
                series.remove_by_labels({"namespace": namespace})

    def observe_transition(self, namespace: str, before: FineTuneJobStatus, after: FineTuneJobStatus) -> None:
        """Counts all that a change of a job's status implies."""
        if any(attempt.completion_time is None for attempt in after.attempts):
            self._begin(namespace)
        changes = attempt_changes(before, after)
        if changes.running or changes.ended:
            self._namespaces.add(namespace)
        if changes.running and after.start_time and not any(map(_has_trained, before.attempts)):
            began = min(moment(attempt.running_time) for attempt in changes.running if attempt.running_time)
            self._queue_seconds.labels(namespace).observe(_seconds(moment(after.start_time), began))
        for attempt in changes.ended:
            self._attempts.labels(namespace, known(attempt.reason, _ENDS)).inc()
            if _has_trained(attempt):
                self._run_seconds.labels(namespace).observe(_trained_seconds(attempt))

        for series, count in (
            (self._steps_lost, steps_done_again(before, after) or 0),
            (self._failed_saves, failed_saves(before, after)),
        ):
            if count:  # a series that is only looked at would begin, in a namespace that may be gone
                self._namespaces.add(namespace)
                series.labels(namespace).inc(min(count, _MOST_AT_ONCE))

    def planner_refused(self) -> None:
        """The planner found no room for a job."""
        self._planner_refusals.inc()

    def _begin(self, namespace: str) -> None:
        """Prometheus sees no increase in a series that begins with 1: all that an attempt may count begins with 0."""
        self._queue_seconds.labels(namespace)
        self._run_seconds.labels(namespace)
        self._steps_lost.labels(namespace)
        self._failed_saves.labels(namespace)
        self._namespaces.add(namespace)
        for reason in _ENDS:
            self._attempts.labels(namespace, reason)


class _Jobs(Collector):
    """Counts the jobs of the cache."""

    def __init__(
        self, jobs: Callable[[], Iterable[JobSample]], now: Callable[[], datetime], forget: Callable[[], None]
    ) -> None:
        self._views = jobs
        self._now = now
        self._forget = forget

    def describe(self) -> list[GaugeMetricFamily]:
        """The metrics without their values: the registry wants their names before the cache is filled."""
        return [
            GaugeMetricFamily("kubetune_jobs", "Jobs, by phase.", labels=("namespace", "phase")),
            GaugeMetricFamily(
                "kubetune_job_waiting_seconds",
                "The longest time that a job which does not run yet has been waiting for this.",
                labels=("namespace", "reason"),
            ),
            *described(),
        ]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics as they are now."""
        self._forget()
        views, now = list(self._views()), self._now()
        jobs, waiting, *_ = self.describe()
        for (namespace, phase), count in Tally((view.namespace, view.phase) for view in views).items():
            jobs.add_metric((namespace, phase), count)
        for (namespace, reason), seconds in _longest_waits(views, now).items():
            waiting.add_metric((namespace, reason), seconds)
        yield from (jobs, waiting)
        yield from collected((view.namespace, view.run) for view in views if view.run)


def sample_of(job: JobView, now: datetime) -> JobSample:
    """What is counted of a job as it is now."""
    status = job.status
    return JobSample(
        job.namespace,
        status.phase or "Pending",
        status.reason or "",
        waiting_since(status, job.created_at),
        run_sample(job, now),
    )


def waiting_since(status: FineTuneJobStatus, created_at: datetime) -> datetime:
    """Since when a job has waited for what it waits for now; whatever it waited for before does not count."""
    return moment(status.reason_since_time) if status.reason_since_time else created_at


def _has_trained(attempt: Attempt) -> bool:
    return attempt.running_time is not None or attempt.ran_seconds > 0


def _trained_seconds(attempt: Attempt) -> float:
    """The training time of an attempt that has ended."""
    if attempt.running_time is None or attempt.completion_time is None:
        return attempt.ran_seconds
    return attempt.ran_seconds + _seconds(moment(attempt.running_time), moment(attempt.completion_time))


def _longest_waits(views: list[JobSample], now: datetime) -> dict[tuple[str, str], float]:
    longest: dict[tuple[str, str], float] = {}
    for view in views:
        if view.phase in _NOT_RUNNING:
            labels = (view.namespace, known(view.reason, REASONS.keys()))
            longest[labels] = max(longest.get(labels, 0.0), _seconds(view.since, now))
    return longest


def _seconds(start: datetime, end: datetime) -> float:
    """Never negative: the times may come from clocks of different machines."""
    return max(0.0, (end - start).total_seconds())
