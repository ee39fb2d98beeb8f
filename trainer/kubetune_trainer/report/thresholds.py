"""What a classification of several labels would come to at other thresholds."""

from matplotlib.axes import Axes

from kubetune_trainer.report import svg
from kubetune_trainer.report.charts import Chart, Key
from kubetune_trainer.tasks.multi_label import LabelSetDetails

SIZE = (450.0, 250.0)


def threshold_chart(details: LabelSetDetails) -> Chart:
    """F1, precision and recall over all labels, by the threshold; a line marks the one that counts."""
    thresholds = [point.threshold for point in details.curve]
    curves = {
        "F1": [point.f1 for point in details.curve],
        "precision": [point.precision for point in details.curve],
        "recall": [point.recall for point in details.curve],
    }

    def paint(axes: Axes) -> None:
        for place, values in enumerate(curves.values()):
            axes.plot(thresholds, values, color=svg.SERIES[place])
        axes.axvline(details.threshold, color=svg.MUTED, linewidth=1.0, linestyle="--")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("threshold")
        axes.set_ylabel("micro")

    best = max(details.curve, key=lambda point: point.f1)
    summary = (
        f"F1, precision and recall over all labels, by the threshold from which on a label is given. It is"
        f" {details.threshold:g}; F1 is highest, {best.f1:.3f}, at {best.threshold:g}."
    )
    legend = tuple(Key(name, place) for place, name in enumerate(curves, start=1))
    return Chart("By threshold", summary, svg.draw("thresholds", summary, SIZE, paint), legend)
