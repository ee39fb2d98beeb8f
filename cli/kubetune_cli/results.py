"""What a person reads when a run is over."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kubetune_api.job import FineTuneJob
from kubetune_api.status import Condition, FineTuneJobStatus


def print_results(job: FineTuneJob, status: FineTuneJobStatus, console: Console) -> None:
    """The metrics of each split side by side, and where the model and the report are."""
    values = {metric.name: metric.value for metric in status.metrics}
    splits = list(dict.fromkeys(name.split("/")[0] for name in values))
    names = list(dict.fromkeys(name.split("/")[1] for name in values))
    table = Table(title=f"{job.metadata.name}: {status.phase}")
    table.add_column("metric")
    for split in splits:
        table.add_column(split, justify="right")
    for name in names:
        table.add_row(name, *(_shown(values.get(f"{split}/{name}")) for split in splits))
    console.print(table)
    for requirement in job.spec.evaluation.require:
        value = values.get(requirement.metric, float("nan"))
        met = (requirement.min is None or value >= requirement.min) and (
            requirement.max is None or value <= requirement.max
        )
        wanted = " and ".join(
            f"{word} {bound:g}"
            for word, bound in (("at least", requirement.min), ("at most", requirement.max))
            if bound is not None
        )
        console.print(
            f"{'met   ' if met else 'MISSED'}  {requirement.metric} is {value:.4f}, wanted {wanted}", highlight=False
        )
    if status.artifact is not None:
        for title, uri in (
            ("model", status.artifact.uri),
            ("report", status.artifact.report_uri),
            ("manifest", status.artifact.manifest_uri),
        ):
            console.print(f"{title:9} {escape(uri)}", highlight=False, soft_wrap=True)


def print_failure(failure: Condition, log: Path, console: Console) -> None:
    """Why the run failed, and where to read more."""
    console.print(f"[bold red]Failed[/] ({failure.reason}): {escape(failure.message)}", highlight=False, soft_wrap=True)
    console.print(f"  log: {escape(str(log))}", highlight=False, soft_wrap=True)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
