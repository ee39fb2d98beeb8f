"""matplotlib's figures as SVG that belongs to the page: its font, its colours in light and dark, no id that clashes.

No text of a tenant is ever given to matplotlib (labels are drawn by HTML tables): it would read `$…$` as mathematics
and warn of each glyph that its fonts lack.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Stand-ins that no palette uses; each becomes a variable of the page's style sheet, which knows light from dark.
INK = "#010200"
MUTED = "#010201"
GRID = "#010202"
SERIES = ("#010211", "#010212", "#010213", "#010214")
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)},
}

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_joinstyle": "round",
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
}
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def draw(name: str, summary: str, size: tuple[float, float], paint: Callable[[Axes], None]) -> Markup:
    """The figure that `paint` draws, as an SVG element to stand in a page.

    `name` keeps the ids of one page's figures apart, `summary` is what a screen reader says, `size` is the width and
    height of the view box, in which the text is 11 units high.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72))
        canvas = FigureCanvasSVG(figure)
        paint(figure.subplots())
        written = io.StringIO()
        # `savefig` would draw twice.
        canvas.print_svg(written, metadata=_NO_METADATA)
    return Markup(_adapted(written.getvalue(), name, summary))  # noqa: S704 - matplotlib's own markup, none of tenants


def _adapted(text: str, name: str, summary: str) -> str:
    root = ET.fromstring(text)  # noqa: S314 - written by matplotlib a moment ago
    _drop_what_the_page_has(root)
    targets = {element.get("id") for element in root.iter() if element.tag in (f"{_SVG}path", f"{_SVG}clipPath")}
    for element in root.iter():
        _adapt(element, name, targets)
    for size in ("width", "height"):
        root.attrib.pop(size)
    root.attrib.update({"role": "img", "aria-label": summary, "class": "chart"})
    return _with_variables(ET.tostring(root, encoding="unicode"))


def _drop_what_the_page_has(root: ET.Element) -> None:
    """The style element would reach the whole page, and the metadata names the network."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}style" or child.tag.endswith("metadata"):
                parent.remove(child)


def _adapt(element: ET.Element, name: str, targets: set[str | None]) -> None:
    element.tag = element.tag.removeprefix(_SVG)
    if (own := element.attrib.pop("id", None)) in targets and own is not None:
        element.set("id", f"{name}-{own}")
    if reference := element.attrib.pop(_XLINK_HREF, None):
        element.set("href", f"#{name}-{reference.removeprefix('#')}")
    if clip := element.get("clip-path"):
        element.set("clip-path", clip.replace("url(#", f"url(#{name}-"))
    if path := element.get("d"):
        element.set("d", re.sub(r"-?\d+\.\d+", lambda match: f"{float(match.group()):.2f}", path.replace("\n", "")))
    if (transform := element.get("transform")) and transform.startswith("rotate(-0 "):
        del element.attrib["transform"]
    if style := element.get("style"):
        element.set("style", re.sub(r"\s*font-family:[^;]*;?", "", style))


def _with_variables(text: str) -> str:
    return re.sub("|".join(_VARIABLES), lambda match: _VARIABLES[match.group()], text)
