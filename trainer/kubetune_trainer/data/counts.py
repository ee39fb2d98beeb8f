"""What was read, in counts, as the status of a job has it."""

from collections import Counter

from kubetune_api.data_counts import LONGEST_NAME, MOST_LABELS, DataCounts, LabelCounts, SplitCounts, StepCounts
from kubetune_api.text import elide, printable
from kubetune_trainer.records import DataReport


def counts_of(report: DataReport) -> DataCounts:
    """The counts of a report."""
    return DataCounts(
        rows_read=report.rows_read,
        splits=[
            SplitCounts(name=split.name, rows=split.rows, tokens=split.tokens, truncated=split.truncated)
            for split in report.splits
        ],
        cleaning=[StepCounts(name=step.name, rows=step.rows, dropped=step.dropped) for step in report.cleaning],
        label_count=len(report.labels),
        labels=_labels(report),
    )


def _labels(report: DataReport) -> list[LabelCounts]:
    rows = Counter[str]()
    for split in report.splits:
        rows.update(dict(split.label_rows))
    found = sorted(rows.items(), key=lambda item: -item[1])
    if len(found) > MOST_LABELS:
        # What went wrong in the data is usually rare.
        found = found[: MOST_LABELS // 2] + found[-MOST_LABELS // 2 :]
    return [LabelCounts(name=elide(printable(label), LONGEST_NAME), rows=count) for label, count in found]
