"""How far the probabilities of a classifier can be believed: the share of right answers by the probability told."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from kubetune_api import text
from kubetune_trainer.report import svg
from kubetune_trainer.report.charts import Chart
from kubetune_trainer.tasks.scores import CALIBRATION_BINS, CalibrationBin

SIZE = (330.0, 300.0)


def reliability_chart(bins: Sequence[CalibrationBin]) -> Chart | None:
    """A bar for each bin that has rows, and the line on which a calibrated model's would end; None without any."""
    if not bins:
        return None
    rows = sum(one.rows for one in bins)

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=svg.MUTED, linewidth=1.0)
        axes.bar(
            [one.confidence for one in bins],
            [one.accuracy for one in bins],
            width=0.8 / CALIBRATION_BINS,
            color=svg.SERIES[0],
            alpha=0.8,
        )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("probability of the answer")
        axes.set_ylabel("share of right answers")

    last = max(bins, key=lambda one: one.rows)
    summary = (
        f"Share of right answers by the probability of the answer, of {text.plural(rows, 'row')}: where most are"
        f" ({text.plural(last.rows, 'row')}), the probability is {last.confidence:.2f} and {last.accuracy:.2f} of the"
        " answers are right."
    )
    return Chart("Calibration", summary, svg.draw("reliability", summary, SIZE, paint))
