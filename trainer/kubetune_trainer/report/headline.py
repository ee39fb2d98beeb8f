"""The few numbers at the top of the report."""

from dataclasses import dataclass

from kubetune_trainer.records import EvaluationRecord, RunRecord
from kubetune_trainer.report import findings, text
from kubetune_trainer.report.inputs import elapsed


@dataclass(frozen=True)
class Figure:
    """A number with its name and what it means."""

    name: str
    value: str
    notes: tuple[str, ...] = ()


def headline_figures(record: RunRecord) -> list[Figure]:
    """The metrics that the model is judged by, then what the run took."""
    judged = findings.headline(record)
    found = [_figure(record, judged, name) for name in _names(record) if name in judged.metrics] if judged else []
    return [*found, _throughput(record), _size_of_run(record)]


def _names(record: RunRecord) -> tuple[str, ...]:
    if record.job.spec.task.type == "CausalLM":
        return ("perplexity", "loss")
    return ("accuracy", "f1_macro", "loss")


def _figure(record: RunRecord, judged: EvaluationRecord, name: str) -> Figure:
    notes = []
    if name == "accuracy":
        notes += _notes_of_accuracy(record, judged)
    before = findings.before_training(record, judged)
    if before is not None and before is not judged and name in before.metrics:
        notes.append(f"{text.metric(name, before.metrics[name])} before training")
    return Figure(f"{judged.split} {_SPOKEN.get(name, name)}", text.metric(name, judged.metrics[name]), tuple(notes))


_SPOKEN = {"f1_macro": "F1 (macro)"}


def _notes_of_accuracy(record: RunRecord, judged: EvaluationRecord) -> list[str]:
    notes = []
    split = findings.split_of(record, judged.split)
    accuracy = judged.metrics["accuracy"]
    if split is not None and (interval := findings.wilson(accuracy * split.rows, split.rows)) is not None:
        rows = text.plural(split.rows, "row")
        notes.append(f"{interval.low:.3f} to {interval.high:.3f} with 95 % confidence, on {rows}")
    if (baseline := findings.baseline_accuracy(record, judged.split)) is not None:
        label = text.elide(text.printable(baseline[0]), 20)
        notes.append(f"{baseline[1]:.3f} by always answering “{label}”")
    return notes


def _throughput(record: RunRecord) -> Figure:
    tokens, seconds = sum(step.tokens for step in record.steps), sum(step.seconds for step in record.steps)
    value = text.count(round(tokens / seconds)) if seconds > 0 else "–"
    return Figure("tokens per second", value, (f"{text.magnitude(tokens)} tokens trained on, padding not counted",))


def _size_of_run(record: RunRecord) -> Figure:
    took = text.duration(elapsed(record))
    epochs = record.steps[-1].epoch if record.steps else 0.0
    workers = text.plural(record.resolved.workers, "worker")
    steps = text.plural(len(record.steps), "step")
    passes = f"{epochs:.3g} epoch{'' if epochs == 1 else 's'}"
    return Figure("duration", took, (f"{steps}, {passes}", f"{workers} on {record.device}"))
