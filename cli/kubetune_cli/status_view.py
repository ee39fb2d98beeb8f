"""How jobs of a cluster look in a terminal. Every text of a status is a tenant's: it is shown as text alone."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kubetune_api.metrics import LOSS, metric_text
from kubetune_api.reasons import REASONS, help_on
from kubetune_api.resolved_settings import ResolvedSettings
from kubetune_api.status import Artifact, Attempt, FineTuneJobStatus, Metric, Progress
from kubetune_api.text import elide, plural
from kubetune_cli.data_view import counts_in_words
from kubetune_cli.jobs import Job
from kubetune_cli.progress import detail
from kubetune_cli.text import age, paragraphs, printable

_STYLES = {"Succeeded": "bold green", "Failed": "bold red", "Running": "bold cyan"}
_TURNS = {"User": "the author acts; see ", "Platform": "the platform team acts; see ", "Nobody": "see "}
_MESSAGE = 80
"""Characters of a message that the table shows."""


def table_of(jobs: Sequence[Job], now: datetime, *, namespaces: bool) -> Table:
    """A line for each job."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in [*["NAMESPACE"] * namespaces, "NAME", "PHASE", "STEP", "LOSS", "METRIC", "WORKERS", "ATTEMPT", "AGE"]:
        table.add_column(title, no_wrap=True)
    table.add_column("MESSAGE", overflow="ellipsis", no_wrap=True)
    for job in jobs:
        table.add_row(*[_text(job.namespace)] * namespaces, *_cells(job, now))
    return table


def _cells(job: Job, now: datetime) -> list[Text]:
    status, progress = job.status, job.status.progress
    loss = progress.loss if progress else None
    return [
        _text(job.name),
        _phase(status),
        _text(f"{progress.step}/{progress.total_steps}" if progress else ""),
        _text("" if loss is None else metric_text(LOSS, loss)),
        _text(_metric(status.primary_metric)),
        _text(status.workers_ready or ""),
        _text(str(job.attempt.number) if job.attempt else ""),
        _text(_age(job.created, now)),
        _text(elide(printable(status.message or ""), _MESSAGE)),
    ]


def _metric(metric: Metric | None) -> str:
    return f"{metric.name.partition('/')[2]} {metric_text(metric.name, metric.value)}" if metric else ""


def _settings(resolved: ResolvedSettings | None) -> str:
    """What was chosen where the manifest left it open, as far as it is known."""
    if resolved is None:
        return ""
    parts = (
        ("{} worker" if resolved.workers == 1 else "{} workers", resolved.workers),
        ("ZeRO stage {}", resolved.zero_stage),
        ("{}", resolved.precision),
        ("micro-batches of {}", resolved.micro_batch_size),
        ("learning rate {:g}", resolved.learning_rate),
        ("{} tokens", resolved.max_length),
        ("activation checkpointing", True if resolved.activation_checkpointing == "Full" else None),
    )
    return ", ".join(text.format(value) for text, value in parts if value is not None)


def whole(job: Job, now: datetime) -> RenderableType:
    """All that is known of a job."""
    status = job.status
    parts: list[RenderableType] = [_title(job), *_indented(status.message or job.state)]
    if status.progress is not None:
        parts.append(_bar(status.progress, ended=job.ended))
    parts.append(_indent(_facts(job, now)))
    parts += _section("conditions", [_conditions(status, now)] if status.conditions else [])
    said = {status.message, *(found.message for found in status.conditions)}
    parts += _section("attempts", [line for attempt in status.attempts for line in _attempt(attempt, said, now)])
    parts += _section("data", [_pairs(counts_in_words(status.data))] if status.data else [])
    values = [(metric.name, metric_text(metric.name, metric.value)) for metric in status.metrics]
    parts += _section("metrics", [_pairs(values)] if values else [])
    parts += _section("result", _artifact(status.artifact) if status.artifact else [])
    return Group(*parts)


def line_of(job: Job) -> str:
    """A job in one line, for a log."""
    progress = job.status.progress
    step = f"  {_step(progress)}  {detail(progress)}" if progress and not job.ended else ""
    return printable(f"{job.name}: {job.state}{step}")


def _title(job: Job) -> Text:
    reason = f" ({printable(job.status.reason)})" if job.status.reason else ""
    return Text.assemble((job.name, "bold"), f" in {job.namespace}: ", _phase(job.status), reason)


def _facts(job: Job, now: datetime) -> RenderableType:
    status = job.status
    return _pairs(
        (name, value)
        for name, value in (
            ("workers", status.workers_ready),
            ("settings", _settings(status.resolved)),
            ("started", _moment(status.start_time, now)),
            ("ended", _moment(status.completion_time, now)),
            ("checkpoint", _checkpoint(status, now)),
            ("run", status.run),
            ("help", _help(job)),
        )
        if value
    )


def _checkpoint(status: FineTuneJobStatus, now: datetime) -> str:
    """The last one that was committed, and why later ones were not; nothing once the model is published."""
    known = status.checkpoint
    if known is None or status.artifact is not None:
        return ""
    words = [] if known.step is None else [f"step {known.step:,}"]
    words += [moment] if (moment := _moment(known.time, now)) else []
    words += [] if known.resumed_step is None else [f"went on behind step {known.resumed_step:,}"]
    words += [f"{plural(known.failures, 'save')} failed since then: {known.message}"] * bool(known.failures)
    return ", ".join(words)


def _help(job: Job) -> str:
    """Who has to act, if anybody has, and where the reason is explained; nothing of a job that trains or is done."""
    reason = job.status.reason or ""
    row = REASONS.get(reason)
    if row is None or (row.turn == "Nobody" and job.status.phase not in ("Pending", "Admitted", "Failed")):
        return ""
    return f"{_TURNS[row.turn]}{help_on(reason)}"


def _bar(progress: Progress, *, ended: bool) -> RenderableType:
    line = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, progress.total_steps), completed=progress.step, width=30)
    line.add_row(_text(_step(progress)), bar, _text(detail(progress, ended=ended)))
    return _indent(line)


def _step(progress: Progress) -> str:
    return f"step {progress.step}/{progress.total_steps}"


def _conditions(status: FineTuneJobStatus, now: datetime) -> RenderableType:
    """A table; a sentence that several conditions have, or the status itself, is there once."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("type", "status", "reason", "since"):
        table.add_column(title, no_wrap=True)
    table.add_column("message")
    shown = {status.message}
    for found in status.conditions:
        message = "" if found.message in shown else found.message
        shown.add(found.message)
        since = _age(found.last_transition_time, now)
        table.add_row(*map(_text, (found.type, found.status, found.reason, since, message)))
    return table


def _attempt(attempt: Attempt, said: set[str | None], now: datetime) -> list[RenderableType]:
    """How it began and ended; without the sentence where that was `said` above."""
    began, exempt = _moment(attempt.start_time, now), ", which does not count" if attempt.exempt else ""
    if attempt.completion_time is None:
        return [_text(f"{attempt.number}  began {began}")]
    ended = f"ended {_moment(attempt.completion_time, now)}: {attempt.reason or 'for an unknown reason'}{exempt}"
    lines: list[RenderableType] = [_text(f"{attempt.number}  began {began}, {ended}")]
    lines += _indented("" if attempt.message in said else attempt.message or "")
    return lines + [_indent(_text(f"- {seen}")) for seen in attempt.evidence]


def _artifact(artifact: Artifact) -> list[RenderableType]:
    # One line each, however narrow the terminal: people copy them.
    rejected = " (rejected: it missed a requirement)" if artifact.rejected else ""
    return [
        _text(f"{name:9} {value}")
        for name, value in (
            ("model", artifact.uri + rejected),
            ("report", artifact.report_uri),
            ("manifest", artifact.manifest_uri),
            ("size", f"{artifact.size_bytes:,} bytes"),
        )
    ]


def _section(title: str, lines: Sequence[RenderableType]) -> list[RenderableType]:
    return [Text(title, style="bold"), *map(_indent, lines)] if lines else []


def _pairs(rows: Iterable[tuple[str, str]]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(_text(name), _text(value))
    return grid


def _indented(message: str) -> list[RenderableType]:
    return [_indent(Text(line)) for line in paragraphs(message)] if message else []


def _indent(part: RenderableType) -> RenderableType:
    return Padding(part, (0, 0, 0, 2), expand=False)


def _phase(status: FineTuneJobStatus) -> Text:
    phase = status.phase or "Unseen"
    return Text(phase, style=_STYLES.get(phase, "bold yellow"))


def _text(text: str) -> Text:
    return Text(printable(text))


def _moment(timestamp: str | None, now: datetime) -> str | None:
    return f"{timestamp} ({_age(timestamp, now)} ago)" if timestamp else None


def _age(timestamp: str, now: datetime) -> str:
    try:
        then = datetime.fromisoformat(timestamp)
    except ValueError:
        return "?"
    return age((now - then.replace(tzinfo=then.tzinfo or UTC)).total_seconds())
