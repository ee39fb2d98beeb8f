"""The curves of a run. Each chart knows its legend and the sentence that stands for it where it cannot be seen."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kubetune_api import text
from kubetune_api.metrics import LOSS, metric_row, metric_text
from kubetune_api.numbers import number
from kubetune_trainer.records import EvaluationRecord, RunRecord, StepRecord
from kubetune_trainer.report import findings, svg
from kubetune_trainer.report.series import Line, line, smoothing_window

WIDE = (450.0, 250.0)
NARROW = (330.0, 215.0)
FEW_POINTS = 40
"""Up to here each point of a curve gets a dot."""
LOG_FROM = 30
"""A curve whose highest value is this many times its median is drawn on a logarithmic axis."""
_MARKERS = ("o", "s", "^", "v")
_MARKS = ("●", "■", "▲", "▼")


@dataclass(frozen=True)
class Key:
    """One entry of a legend: `series` is the number of the colour, from 1; `kind` is `line`, `faint`, `dashed` or
    `point`, `mark` the shape of the points on a line."""

    name: str
    series: int
    kind: str = "line"
    mark: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart, ready for the page."""

    title: str
    summary: str
    picture: Markup
    legend: tuple[Key, ...] = ()


def loss_chart(record: RunRecord) -> Chart | None:
    """The training loss of every step, and the loss of each evaluation."""
    raw = _of_steps(record, lambda step: step.loss)
    splits = {split: _of_evaluations(record, split, LOSS, by_epoch=False) for split in ("validation", "test")}
    if not any(len(curve.drawn) for curve in (raw, *splits.values())):
        return None
    window = smoothing_window(len(raw.x))

    def paint(axes: Axes) -> None:
        _paint_steps(axes, raw, window)
        _paint_line(axes, splits["validation"], svg.SERIES[1], marker="o")
        _paint_points(axes, splits["test"], svg.SERIES[2])
        _paint_kept(axes, record, float(record.end.kept_step))
        _label(axes, "step", "loss", [raw, *splits.values()])

    legend = [
        *_keys_of_steps(raw, window, "training"),
        *[Key("validation", 2, mark=_MARKS[0])] * bool(len(splits["validation"].drawn)),
        *[Key("test", 3, "point")] * bool(len(splits["test"].drawn)),
        *_keys_of_kept(record),
    ]
    summary = _spoken("Training loss", raw) + "".join(
        f" {split.capitalize()} loss at the end: {number(float(curve.drawn[-1]))}."
        for split, curve in splits.items()
        if len(curve.drawn)
    )
    return Chart("Loss", summary, svg.draw("loss", summary, WIDE, paint), tuple(legend))


def metrics_chart(record: RunRecord) -> Chart | None:
    """The metrics of each evaluation, over the epochs."""
    row = record.job.spec.task_row
    known = [name for name in dict.fromkeys((*row.headline, *row.metrics)) if name != LOSS]
    # An error in the units of the data, or a perplexity, would leave nothing to see of a share on the same axis.
    names = [name for name in known if _scale(name) == _scale(known[0])][: len(_MARKERS)]
    validation = {name: _of_evaluations(record, "validation", name, by_epoch=True) for name in names}
    test = {name: _of_evaluations(record, "test", name, by_epoch=True) for name in names}
    seen = [name for name in names if len(validation[name].drawn) or len(test[name].drawn)]
    if not any(len(curve.drawn) > 1 for curve in validation.values()):
        return None  # a curve of one point shows nothing that the figures above it do not say
    one = names[0] if len(names) == 1 else None
    best = findings.best_on_validation(record, names[0])

    def paint(axes: Axes) -> None:
        for place, name in enumerate(names):
            _paint_line(axes, validation[name], svg.SERIES[place], marker=_MARKERS[place])
            _paint_points(axes, test[name], svg.SERIES[place])
        _paint_kept(axes, record, _kept_epoch(record))
        if best is not None:
            _paint_ring(axes, best.epoch, best.metrics[names[0]])
        _label(axes, "epoch", one or "metric", [*validation.values(), *test.values()])

    tested = any(len(curve.drawn) for curve in test.values())
    legend = [Key(name, place + 1, mark=_MARKS[place]) for place, name in enumerate(names) if name in seen]
    summary = "".join(
        f"{split.capitalize()} {name} at the end: {metric_text(name, float(curve.drawn[-1]))}. "
        for split, curves in (("validation", validation), ("test", test))
        for name, curve in curves.items()
        if len(curve.drawn)
    ).strip()
    title = f"{(one or 'metrics').capitalize()} by epoch"
    ring = () if best is None else (Key(f"best {names[0]}: epoch {best.epoch:.3g}", 1, "ring"),)
    keys = (*legend, *[Key("on the test split", 0, "point")] * tested, *ring, *_keys_of_kept(record))
    return Chart(title, summary, svg.draw("metrics", summary, WIDE, paint), keys)


def _scale(name: str) -> tuple[bool, bool, str]:
    row = metric_row(name)
    return row.in_units, row.bounded, row.best


def learning_rate_chart(record: RunRecord) -> Chart | None:
    """The schedule as it was."""
    return _step_chart("Learning rate", "rate", _of_steps(record, lambda step: step.learning_rate), smooth=False)


def gradient_norm_chart(record: RunRecord) -> Chart | None:
    """The gradient's norm before it was clipped."""
    return _step_chart("Gradient norm", "norm", _of_steps(record, lambda step: step.gradient_norm), smooth=True)


def speed_chart(record: RunRecord) -> Chart | None:
    """Tokens per second, padding not counted."""
    speed = _of_steps(record, lambda step: step.tokens / step.seconds if step.seconds > 0 else float("nan"))
    return _step_chart("Tokens per second", "tokens/s", speed, smooth=True)


def _step_chart(title: str, unit: str, raw: Line, *, smooth: bool) -> Chart | None:
    if len(raw.drawn) < 2:
        return None
    window = smoothing_window(len(raw.x)) if smooth else 1

    def paint(axes: Axes) -> None:
        _paint_steps(axes, raw, window)
        _label(axes, "step", unit, [raw], from_zero=True)

    summary = _spoken(title, raw)
    picture = svg.draw(title.lower().replace(" ", "-"), summary, NARROW, paint)
    return Chart(title, summary, picture, _keys_of_steps(raw, window, "each step") if window > 1 else ())


def _of_steps(record: RunRecord, value: Callable[[StepRecord], float]) -> Line:
    return line([step.step for step in record.steps], [value(step) for step in record.steps])


def _of_evaluations(record: RunRecord, split: str, metric: str, *, by_epoch: bool) -> Line:
    chosen: list[EvaluationRecord] = [
        evaluation for evaluation in record.evaluations if evaluation.split == split and metric in evaluation.metrics
    ]
    places = [evaluation.epoch if by_epoch else float(evaluation.step) for evaluation in chosen]
    return line(places, [evaluation.metrics.get(metric, math.nan) for evaluation in chosen])


def _paint_steps(axes: Axes, raw: Line, window: int) -> None:
    shown = raw.downsampled()
    if window > 1:
        mean = raw.smoothed(window).downsampled()
        axes.plot(shown.x, shown.y, color=svg.SERIES[0], alpha=0.35, linewidth=1.0)
        axes.plot(mean.x, mean.y, color=svg.SERIES[0])
    else:
        _paint_line(axes, shown, svg.SERIES[0], marker="o")


def _paint_line(axes: Axes, curve: Line, colour: str, marker: str) -> None:
    # The line alone would not show a single point.
    dotted = marker if len(curve.x) <= FEW_POINTS else ""
    axes.plot(curve.x, curve.y, color=colour, marker=dotted, markersize=5.5, markeredgewidth=0)


def _paint_points(axes: Axes, curve: Line, colour: str) -> None:
    axes.plot(
        curve.x,
        curve.y,
        color=colour,
        linestyle="",
        marker="D",
        markersize=6,
        markerfacecolor="none",
        markeredgewidth=1.6,
    )


def _paint_ring(axes: Axes, place: float, value: float) -> None:
    axes.plot([place], [value], color=svg.SERIES[0], linestyle="", marker="o", markersize=12, markerfacecolor="none")


def _paint_kept(axes: Axes, record: RunRecord, place: float) -> None:
    """A line where the published weights are from, unless that is the end."""
    if _keys_of_kept(record):
        axes.axvline(place, color=svg.MUTED, linewidth=1.2, linestyle=(0, (4, 3)))


def _kept_epoch(record: RunRecord) -> float:
    return next((step.epoch for step in record.steps if step.step == record.end.kept_step), 0.0)


def _keys_of_kept(record: RunRecord) -> list[Key]:
    chosen = record.end.kept_step < record.end.step
    return [Key(f"published: step {record.end.kept_step:,}", 0, "dashed")] * chosen


def _label(axes: Axes, x: str, y: str, curves: Iterable[Line], *, from_zero: bool = False) -> None:
    axes.set_xlabel(x)
    low, high = axes.get_xlim()
    # A run that ends within its first epoch has one place, and no whole number near it.
    whole = math.ceil(low) <= math.floor(high)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.grid(visible=False, axis="x")
    logarithmic = _spans_magnitudes(curves)
    axes.set_ylabel(f"{y} (logarithmic)" if logarithmic else y)
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda _value, _place: ""))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        if from_zero and axes.get_ylim()[1] > 0:
            axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _tick(value: float) -> str:
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e+")
    return f"{value:,.6g}" if abs(value) < 1000 else f"{value:,.0f}"


def _spans_magnitudes(curves: Iterable[Line]) -> bool:
    values = sorted(float(value) for curve in curves for value in curve.drawn)
    return bool(values) and values[0] > 0 and values[-1] > LOG_FROM * values[len(values) // 2]


def _keys_of_steps(raw: Line, window: int, name: str) -> tuple[Key, ...]:
    if not len(raw.drawn):
        return ()
    if window == 1:
        return (Key(name, 1),)
    return (Key(name, 1, "faint"), Key(f"mean of {window} steps", 1))


def _spoken(name: str, curve: Line) -> str:
    drawn = curve.drawn
    if not len(drawn):
        return f"{name}: no value that could be drawn."
    first, last = number(float(drawn[0])), number(float(drawn[-1]))
    low, high = number(float(drawn.min())), number(float(drawn.max()))
    steps = text.plural(len(drawn), "step")
    return f"{name} over {steps}: first {first}, last {last}, lowest {low}, highest {high}."
