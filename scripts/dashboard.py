"""Plots the panels of the chart's dashboard, as a Prometheus answers their queries.

    dashboard.py http://127.0.0.1:9090 docs/images/dashboard.png [MINUTES]

For the picture in the documentation, and for those who have no Grafana at hand.
"""

import json
import math
import re
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure

DASHBOARD = Path(__file__).resolve().parents[1] / "charts" / "kubetune" / "files" / "dashboard.json"
POINTS = 300
MINUTES = 30
INK, FAINT = "#222222", "#8a8a8a"
LEGEND = 4
"""Of how many series of a query, the highest ones, the legend tells."""


def main(prometheus: str, picture: str, minutes: str = str(MINUTES)) -> None:
    """Writes the picture; its format is that of the file's name."""
    panels = [panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if panel["type"] != "row"]
    end = time.time()
    mpl.rcParams.update({"font.size": 7, "axes.edgecolor": FAINT, "text.color": INK, "axes.labelcolor": INK})
    rows = 1 + max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure(figsize=(14, rows * 0.26), layout=None)
    for panel in panels:
        place = panel["gridPos"]
        legend = 0.0 if panel["type"] == "stat" else 1.6
        box = (
            (place["x"] + 0.9) / 24,
            1 - (place["y"] + place["h"] - 0.9 - legend) / rows,
            (place["w"] - 1.4) / 24,
            (place["h"] - 2.2 - legend) / rows,
        )
        draw = _number if panel["type"] == "stat" else _lines
        draw(figure.add_axes(box), panel, prometheus, (end - 60 * float(minutes), end))
    figure.savefig(picture, dpi=110, facecolor="white")


def _number(axes: Axes, panel: dict[str, Any], prometheus: str, span: tuple[float, float]) -> None:
    axes.set_axis_off()
    axes.set_title(panel["title"], loc="left", color=FAINT)
    (target,) = panel["targets"]
    series = _ask(prometheus, "query", query=target["expr"], time=span[1])
    value = float(series[0]["value"][1]) if series else math.nan
    axes.text(0.0, 0.2, f"{value:.4g}", fontsize=20)


def _lines(axes: Axes, panel: dict[str, Any], prometheus: str, span: tuple[float, float]) -> None:
    axes.set_title(panel["title"], loc="left", color=FAINT)
    for target in panel["targets"]:
        found = sorted(_over_time(prometheus, target["expr"], span), key=_highest, reverse=True)
        for number, series in enumerate(found):
            label = _named(target["legendFormat"], series["metric"]) if number < LEGEND else None
            axes.plot(*_with_gaps(series["values"], _step(span)), linewidth=1.0, label=label)
    axes.set_xlim(*(datetime.fromtimestamp(at, UTC) for at in span))
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=5))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.tick_params(color=FAINT, labelcolor=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="y", nbins=4)
    if axes.lines:
        axes.legend(frameon=False, fontsize=6, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.2), borderaxespad=0)


def _with_gaps(samples: list[list[Any]], step: float) -> tuple[list[datetime], list[float]]:
    """Times and values, with no number where no sample was: no line leads over what nobody measured."""
    times: list[datetime] = []
    values: list[float] = []
    for at, value in samples:
        if times and at - times[-1].timestamp() > 1.5 * step:
            times.append(times[-1])
            values.append(math.nan)
        times.append(datetime.fromtimestamp(at, UTC))
        values.append(float(value))
    return times, values


def _highest(series: dict[str, Any]) -> float:
    return max(float(value) for _, value in series["values"])


def _step(span: tuple[float, float]) -> float:
    return max((span[1] - span[0]) / POINTS, 1)


def _named(template: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), template)


def _over_time(prometheus: str, expression: str, span: tuple[float, float]) -> list[dict[str, Any]]:
    return _ask(prometheus, "query_range", query=expression, start=span[0], end=span[1], step=_step(span))


def _ask(prometheus: str, what: str, *, query: str, **more: float) -> list[dict[str, Any]]:
    arguments = {"query": query.replace("$namespace", ".*"), **more}
    url = f"{prometheus}/api/v1/{what}?{urlencode(arguments)}"
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the address is the caller's
        return list(json.load(answer)["data"]["result"])


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
