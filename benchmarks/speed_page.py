"""The table and the plot of `speed.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "speed", "font.size": 9, "axes.spines.top": False}
_COLOURS = ("#8a8a8a", "#b8860b", "#c0504d", "#7f5a9e", "#1f6fb2", "#2c8c4b", "#17a2a2")


@dataclass(frozen=True)
class Measured:
    """One system on one workload."""

    system: str
    tokens_per_second: float
    """Real ones; without the first step."""
    first_step: float
    """Seconds from the start of the process to the first step."""
    peak_bytes: int
    padding: float
    """Its share of what went through the model."""
    losses: list[float]
    same_rows: bool = True
    """Whether its steps take the rows that the others' take."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def table(name: str, found: Sequence[Measured]) -> str:
    """In Markdown. Ratios are to the first, the defaults, and to the fastest of the others."""
    others = [one for one in found if not one.system.startswith("kubetune")]
    first, best = (others[0], max(others, key=lambda one: one.tokens_per_second)) if others else (None, None)
    curve = first.losses if first else found[0].losses
    lines = [
        f"**{name}**\n",
        "| | tokens/s | of the defaults | of the best | first step | peak memory | padding | last loss | curve |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        ratios = [f"{one.tokens_per_second / to.tokens_per_second:.2f}" if to else "" for to in (first, best)]
        lines.append(
            f"| {one.system} | {one.tokens_per_second:,.0f} | {ratios[0]} | {ratios[1]} | {one.first_step:.1f} s"
            f" | {one.peak_bytes / 2**30:.2f} GiB | {one.padding:.1%} | {one.losses[-1]:.4f} | {_beside(one, curve)} |"
        )
    return "\n".join([*lines, ""])


def _beside(one: Measured, curve: Sequence[float]) -> str:
    if not one.same_rows:
        return "other rows"
    return f"{max(abs(mine - theirs) for mine, theirs in zip(one.losses, curve, strict=True)):.1e}"


def plot(found: Mapping[str, Sequence[Measured]], path: Path) -> None:
    """For each workload: the rates as bars, and the losses of every step."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11, 2.8 * len(found)), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        grid = figure.subplots(len(found), 2, squeeze=False)
        for (bars, curves), (name, measured) in zip(grid, found.items(), strict=True):
            _bars(bars, name, measured)
            _curves(curves, measured)
        canvas.print_svg(path, metadata={"Date": None})


def _bars(axes: Axes, name: str, measured: Sequence[Measured]) -> None:
    places = range(len(measured))
    drawn = axes.barh(places, [one.tokens_per_second for one in measured], color=_COLOURS)
    axes.bar_label(drawn, fmt="%.0f", padding=3)
    axes.set_yticks(places, [one.system for one in measured])
    axes.invert_yaxis()
    axes.set_xlabel("tokens per second")
    axes.set_title(name)


def _curves(axes: Axes, measured: Sequence[Measured]) -> None:
    for one, colour in zip(measured, _COLOURS, strict=False):
        style = "-" if one.same_rows else ":"
        axes.plot(range(1, len(one.losses) + 1), one.losses, style, color=colour, label=one.system, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(fontsize=7, frameon=False)
