"""What the operator measures of itself, for Prometheus. `docs/metrics.md` explains each metric.

The values of labels are bounded: a tenant cannot invent new ones.
"""

from collections.abc import Callable, Iterable, Set

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from kubetune_operator.machinery.kinds import Kind

OTHER = "Other"
"""The label of a value that is none of the known ones."""
NO_ANSWER = "none"
"""The code of a request that got no answer."""
_VERBS = frozenset({"get", "list", "watch", "create", "update", "patch", "apply", "delete", "discover"})
_RECONCILE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """The metrics of one process, in a registry that has those of each kind as well."""

    def __init__(self, registry: CollectorRegistry, kinds: Iterable[Kind]) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        self._resources = frozenset(kind.plural for kind in kinds)
        self._reconcile_seconds = histogram(
            registry,
            "reconcile_seconds",
            "Time of one reconciliation, with all its requests.",
            _RECONCILE_BUCKETS,
        )
        self._reconcile_errors = counter(registry, "reconcile_errors", "Reconciliations that ended in an error.")
        self._api_requests = counter(
            registry, "api_requests", "Requests to the API server.", "verb", "resource", "code"
        )
        self._leader = gauge(registry, "leader", "1 if this replica is the one that writes, else 0.")
        self._queue_length = gauge(registry, "work_queue_length", "Jobs that wait to be reconciled.")
        self._synced = gauge(
            registry,
            "informer_synced",
            "1 if the cache of the resource is complete and up to date, else 0.",
            "resource",
        )

    def collect_queue_length(self, length: Callable[[], int]) -> None:
        """Reads the length of the work queue whenever Prometheus asks."""
        self._queue_length.set_function(length)

    def collect_synced(self, resource: str, synced: Callable[[], bool]) -> None:
        """Reads whether the cache of a resource (`pods`) is complete whenever Prometheus asks."""
        self._synced.labels(known(resource, self._resources)).set_function(synced)

    def reconciled(self, seconds: float, error: bool) -> None:
        """One object was looked at."""
        self._reconcile_seconds.observe(seconds)
        if error:
            self._reconcile_errors.inc()

    def api_request(self, verb: str, resource: str, code: int) -> None:
        """One request was made; `code` is the HTTP status, 0 if no answer came."""
        answer = str(code) if code else NO_ANSWER
        self._api_requests.labels(known(verb, _VERBS), known(resource, self._resources), answer).inc()

    def leading(self, leads: bool) -> None:
        """Whether this replica is the one that writes."""
        self._leader.set(leads)


def counter(registry: CollectorRegistry, name: str, meaning: str, *labels: str) -> Counter:
    """A counter of the operator; `_total` follows its name."""
    return Counter(f"kubetune_{name}_total", meaning, labels, registry=registry)


def gauge(registry: CollectorRegistry, name: str, meaning: str, *labels: str) -> Gauge:
    """A gauge of the operator."""
    return Gauge(f"kubetune_{name}", meaning, labels, registry=registry)


def histogram(
    registry: CollectorRegistry, name: str, meaning: str, buckets: tuple[float, ...], *labels: str
) -> Histogram:
    """A histogram of the operator."""
    return Histogram(f"kubetune_{name}", meaning, labels, buckets=buckets, registry=registry)


def known(value: str | None, values: Set[str]) -> str:
    """The value of a label, or `OTHER`."""
    return value if value is not None and value in values else OTHER
