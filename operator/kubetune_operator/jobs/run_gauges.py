"""What is so at the moment of each job that runs: what its end would cost, how it saves, and how much of it counted.

Each of these series names its job: there are no more of them than jobs that hold hardware.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily

from kubetune_api.times import moment
from kubetune_operator.jobs.history import goodput
from kubetune_operator.jobs.observed import JobView

_LABELS = ("namespace", "finetunejob")
_GAUGES: Mapping[str, tuple[str, str]] = {
    "age": (
        "checkpoint_age_seconds",
        "Time since a job's last checkpoint, or since its attempt began to train if that was later.",
    ),
    "stall": ("checkpoint_stall_seconds", "How long the training stood still for the last checkpoint."),
    "upload": ("checkpoint_upload_bytes_per_second", "How fast the last checkpoint was uploaded, by all workers."),
    "failures": ("checkpoint_failures", "Checkpoints in a row that could not be saved."),
    "goodput": ("goodput_ratio", "The share of the time that a job's attempts ran whose steps counted."),
}
"""By the field of a `RunSample`: the name and what it means."""


@dataclass(frozen=True)
class RunSample:
    """What is measured of a job that runs; None where nothing is known."""

    job: str
    age: float | None = None
    stall: float | None = None
    upload: float | None = None
    failures: float | None = None
    goodput: float | None = None


def run_sample(job: JobView, now: datetime) -> RunSample | None:
    """What is measured of a job; None of one that does not run."""
    if job.status.phase != "Running" or job.attempt is None:
        return None
    return RunSample(job.name, goodput=goodput(job.status, now), **_saves(job, now))


def _saves(job: JobView, now: datetime) -> dict[str, float | None]:
    """Of a job that is saved."""
    known, began = job.status.checkpoint, job.attempt.running_time if job.attempt else None
    if job.parsed is None or job.parsed.spec.checkpoints_in_a_cluster is None:
        return {}
    if known is None and job.parsed.spec.training.checkpoints is None:
        # Nobody asked for one: there may be no room, or its attempt is that of an earlier operator, and saves nothing.
        return {}
    times = [moment(time) for time in (began, known.time if known else None) if time]
    found: dict[str, float | None] = {"age": max(0.0, (now - max(times)).total_seconds()) if times else None}
    if known is None:
        return found
    rate = known.size_bytes / known.upload_seconds if known.size_bytes and known.upload_seconds else None
    return {**found, "stall": known.stall_seconds, "upload": rate, "failures": float(known.failures)}


def described() -> list[GaugeMetricFamily]:
    """The metrics without their values."""
    return [GaugeMetricFamily(f"kubetune_job_{name}", said, labels=_LABELS) for name, said in _GAUGES.values()]


def collected(samples: Iterable[tuple[str, RunSample]]) -> list[GaugeMetricFamily]:
    """The metrics of these jobs, each with its namespace."""
    families = described()
    for namespace, sample in samples:
        values = asdict(sample)
        for field, family in zip(_GAUGES, families, strict=True):
            if values[field] is not None:
                family.add_metric((namespace, sample.job), values[field])
    return families
