"""The few numbers at the top of the report."""

from collections.abc import Iterator
from dataclasses import dataclass

from kubetune_api import text
from kubetune_api.metrics import CUSTOM, metric_row, metric_text
from kubetune_trainer.records import EvaluationRecord, RunRecord
from kubetune_trainer.report import findings
from kubetune_trainer.report.inputs import elapsed
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.retrieval import RetrievalDetails


@dataclass(frozen=True)
class Figure:
    """A number with its name and what it means."""

    name: str
    value: str
    notes: tuple[str, ...] = ()


def headline_figures(record: RunRecord) -> list[Figure]:
    """The metrics that the model is judged by, then what the run took."""
    judged = findings.headline(record)
    names = (*record.job.spec.task_row.headline, *custom_names(record))
    found = [_figure(record, judged, name) for name in names if name in judged.metrics] if judged else []
    return [*found, _throughput(record), _size_of_run(record)]


def custom_names(record: RunRecord) -> list[str]:
    """The user's own metrics."""
    return [f"{CUSTOM}{name}" for name in record.job.spec.evaluation.metrics]


def _figure(record: RunRecord, judged: EvaluationRecord, name: str) -> Figure:
    notes = [*_sureness(record, judged, name), *task_of(record.job.spec).notes(name, judged, record.data)]
    before = findings.before_training(record, judged)
    if before is not None and before is not judged and name in before.metrics:
        notes.append(f"{metric_text(name, before.metrics[name])} before training")
    best = findings.best_on_validation(record, name)
    if best is not None and best.step != record.end.kept_step:
        notes.append(f"best on validation at epoch {best.epoch:.3g}: {metric_text(name, best.metrics[name])}")
    return Figure(f"{judged.split} {metric_row(name).title}", metric_text(name, judged.metrics[name]), tuple(notes))


def _sureness(record: RunRecord, judged: EvaluationRecord, name: str) -> Iterator[str]:
    split = record.data.split(judged.split)
    if name in judged.intervals and split is not None:
        low, high = (metric_text(name, bound) for bound in judged.intervals[name])
        yield f"{low} to {high} with 95 % confidence, on {text.plural(_rows(record, judged, name, split.rows), 'row')}"


def _rows(record: RunRecord, judged: EvaluationRecord, name: str, of_split: int) -> int:
    """Those that the metric is of."""
    spec, details = record.job.spec, judged.details
    if spec.evaluation.generation is not None and name in spec.task_row.generated_metrics:
        return min(of_split, spec.evaluation.generation.max_rows)
    return sum(details.own) if isinstance(details, RetrievalDetails) else of_split


def _throughput(record: RunRecord) -> Figure:
    tokens, seconds = sum(step.tokens for step in record.steps), sum(step.seconds for step in record.steps)
    value = text.count(round(tokens / seconds)) if seconds > 0 else "–"
    return Figure("tokens per second", value, (f"{text.magnitude(tokens)} tokens trained on, padding not counted",))


def _size_of_run(record: RunRecord) -> Figure:
    took = text.duration(elapsed(record))
    epochs = record.steps[-1].epoch if record.steps else 0.0
    workers = text.plural(record.resolved.workers, "worker")
    planned = f" of {record.end.total_steps:,}" if record.end.stopped_early else ""
    steps = f"{text.plural(len(record.steps), 'step')}{planned}"
    passes = f"{epochs:.3g} epoch{'' if epochs == 1 else 's'}"
    return Figure("duration", took, (f"{steps}, {passes}", f"{workers} on {record.device}"))
