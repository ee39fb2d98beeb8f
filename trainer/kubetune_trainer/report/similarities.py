"""How far the texts that belong together lie from the others: two histograms of cosines over each other."""

from matplotlib.axes import Axes

from kubetune_api import text
from kubetune_trainer.report import svg
from kubetune_trainer.report.charts import WIDE, Chart, Key
from kubetune_trainer.tasks.retrieval import RetrievalDetails


def similarity_chart(details: RetrievalDetails) -> Chart:
    """Of each kind the share of its cosines in each bin, since there are far more pairs that do not belong together."""
    edges, kinds = details.edges, (_shares(details.own), _shares(details.others))
    filled = [place for place in range(len(details.own)) if details.own[place] or details.others[place]]

    def paint(axes: Axes) -> None:
        for shares, colour in zip(kinds, svg.SERIES, strict=False):
            axes.stairs(shares, edges, color=colour, fill=True, alpha=0.35)
            axes.stairs(shares, edges, color=colour, linewidth=1.6)
        axes.set_xlim(edges[min(filled, default=0)], edges[max(filled, default=len(details.own) - 1) + 1])
        axes.set_xlabel("cosine")
        axes.set_ylabel("share of the pairs")

    own, others = (_mean(counts, edges) for counts in (details.own, details.others))
    summary = (
        f"Cosines of {text.plural(sum(details.own), 'anchor')} with their own texts, {own:.2f} on average, and with"
        f" those of other rows, {others:.2f} on average."
    )
    legend = (Key("own text", 1), Key("texts of other rows", 2))
    return Chart("Similarity", summary, svg.draw("similarity", summary, WIDE, paint), legend)


def _shares(counts: tuple[int, ...]) -> list[float]:
    return [count / max(1, sum(counts)) for count in counts]


def _mean(counts: tuple[int, ...], edges: list[float]) -> float:
    middles = ((edges[place] + edges[place + 1]) / 2 for place in range(len(counts)))
    return sum(count * middle for count, middle in zip(counts, middles, strict=True)) / max(1, sum(counts))
