"""What went into a run, made ready to show: rows, labels, files, settings, time."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

import yaml

from kubetune_api.times import moment
from kubetune_trainer.records import DataReport, RunRecord

MOST_FILES = 25
"""Input files that are listed; the manifest of the artifact names them all."""
MOST_LABELS_SHOWN = 30
"""Labels whose rows in each split are shown, as many as the confusion matrix shows."""


@dataclass(frozen=True)
class CleaningBar:
    """A line of the table that shows how many rows were left after each step."""

    what: str
    change: int
    dropped: bool
    left: int


def elapsed(record: RunRecord) -> timedelta:
    """From the start of the run to its end."""
    return moment(record.completion_time) - moment(record.start_time)


def cleaning_bars(data: DataReport) -> list[CleaningBar]:
    """The steps of the cleaning, each with the rows left after it."""
    left, bars = data.rows_read, []
    for step in data.cleaning:
        left -= step.rows if step.dropped else 0
        bars.append(CleaningBar(step.what, step.rows, step.dropped, left))
    return bars


def label_distribution(data: DataReport) -> list[tuple[str, dict[str, int]]]:
    """Each label with its rows in each split: in the order of the labels, or the most frequent ones of many."""
    rows = {split.name: Counter(dict(split.label_rows)) for split in data.splits if split.label_rows}
    if not rows:
        return []
    total: Counter[str] = sum(rows.values(), Counter())
    labels = list(data.labels)
    if len(labels) > MOST_LABELS_SHOWN:
        labels = sorted(labels, key=lambda label: -total[label])[:MOST_LABELS_SHOWN]
    return [(label, {split: found[label] for split, found in rows.items()}) for label in labels]


def manifest_yaml(record: RunRecord) -> str:
    """The job as it was resolved: the manifest with the defaults filled in, and in a cluster what the operator planned.

    A field that depends on more than the manifest and was not set is left out.
    """
    resolved = {name: part for name, part in record.job.resolved.to_dict().items() if name != "status"}
    return yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True, width=100)
