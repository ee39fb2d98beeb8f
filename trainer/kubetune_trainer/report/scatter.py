"""Predicted against true values: a plot of cells, the darker the more rows are in them."""

import math

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from kubetune_api import text
from kubetune_api.numbers import number
from kubetune_trainer.report import svg
from kubetune_trainer.report.charts import Chart
from kubetune_trainer.tasks.number_metrics import CELLS, RegressionDetails, Scatter

SIZE = (330.0, 300.0)
_FAINTEST = 0.15
"""Of a cell with a single row where others have many."""


def scatter_charts(details: RegressionDetails) -> tuple[Chart, ...]:
    """One for each of a row's numbers, the first ones where there are many."""
    several = len(details.scatter) > 1
    return tuple(
        _chart(place, scatter, title=f"Predicted and true values, number {place}" if several else "Predicted and true")
        for place, scatter in enumerate(details.scatter, start=1)
    )


def _chart(place: int, scatter: Scatter, title: str) -> Chart:
    rows = sum(count for *_, count in scatter.cells)
    most = max((count for *_, count in scatter.cells), default=1)
    width = (scatter.high - scatter.low) / CELLS

    def middle(cell: int) -> float:
        return scatter.low + (cell + 0.5) * width

    def paint(axes: Axes) -> None:
        axes.plot([scatter.low, scatter.high], [scatter.low, scatter.high], color=svg.MUTED, linewidth=1.0)
        cells = axes.scatter(
            [middle(true) for true, *_ in scatter.cells],
            [middle(said) for _, said, _ in scatter.cells],
            s=36.0,
            marker="s",
            color=svg.SERIES[0],
            linewidths=0,
        )
        cells.set_alpha(
            [_FAINTEST + (1 - _FAINTEST) * math.log1p(count) / math.log1p(most) for *_, count in scatter.cells]
        )
        axes.set_xlim(scatter.low, scatter.high)
        axes.set_ylim(scatter.low, scatter.high)
        axes.set_xlabel("true value")
        axes.set_ylabel("predicted value")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))

    on_it = sum(count for true, said, count in scatter.cells if abs(true - said) <= 1)
    summary = (
        f"Predicted against true values of {text.plural(rows, 'row')}, {number(scatter.low)} to {number(scatter.high)}"
        f" each way; {text.percent(on_it / rows if rows else 0.0)} of them lie within a fortieth of the line on which"
        " both are equal."
    )
    return Chart(f"{title}", summary, svg.draw(f"scatter-{place}", summary, SIZE, paint))
