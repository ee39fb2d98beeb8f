"""What a person reads when a run is over."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kubetune_api.job import FineTuneJob
from kubetune_api.metrics import metric_text
from kubetune_api.numbers import on_its_side
from kubetune_api.reasons import REASONS, help_on
from kubetune_api.status import Condition, FineTuneJobStatus


def print_results(job: FineTuneJob, status: FineTuneJobStatus, console: Console) -> None:
    """The metrics of each split side by side, and where the model and the report are."""
    values = {metric.name: metric.value for metric in status.metrics}
    splits = list(dict.fromkeys(name.split("/")[0] for name in values))
    names = list(dict.fromkeys(name.split("/")[1] for name in values))
    title = f"{job.metadata.name}: {status.phase}"
    table = Table(title=title, min_width=len(title))
    table.add_column("metric")
    for split in splits:
        table.add_column(split, justify="right")
    for name in names:
        table.add_row(name, *(_shown(name, values.get(f"{split}/{name}")) for split in splits))
    console.print(table)
    for requirement in job.spec.evaluation.require:
        value = values.get(requirement.metric, float("nan"))
        met, shown = requirement.is_met_by(value), on_its_side(value, requirement.is_met_by)
        wanted = " and ".join(
            f"{word} {bound:g}"
            for word, bound in (("at least", requirement.min), ("at most", requirement.max))
            if bound is not None
        )
        console.print(
            f"{'met   ' if met else 'MISSED'}  {requirement.metric} is {shown}, wanted {wanted}", highlight=False
        )
    for line in places_of(status):
        console.print(escape(line), highlight=False, soft_wrap=True)


def places_of(status: FineTuneJobStatus) -> list[str]:
    """Where the model and what belongs to it are; none where nothing was published."""
    if status.artifact is None:
        return []
    places = {
        "model": status.artifact.uri,
        "report": status.artifact.report_uri,
        "manifest": status.artifact.manifest_uri,
    }
    return [f"{title:9} {uri}" for title, uri in places.items()]


def failure_of(status: FineTuneJobStatus) -> Condition:
    """The condition that says why a run failed."""
    return next(condition for condition in status.conditions if condition.type == "Failed")


def print_failure(failure: Condition, log: Path | None, console: Console) -> None:
    """Why the run failed, and where to read more, if it came to a log."""
    console.print(f"[bold red]Failed[/] ({failure.reason}): {escape(failure.message)}", highlight=False, soft_wrap=True)
    if log is not None:
        console.print(f"  log: {escape(str(log))}", highlight=False, soft_wrap=True)
    if failure.reason in REASONS:
        console.print(f"  help: {help_on(failure.reason)}", highlight=False, soft_wrap=True)


def _shown(name: str, value: float | None) -> str:
    return "" if value is None else metric_text(name, value)
