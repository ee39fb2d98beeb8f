"""Curves: made small without losing a spike, smoothed without inventing one, and drawn in the page's own colours."""

import re
from dataclasses import replace

import numpy as np
import pytest

from kubetune_trainer.records import TrainingEnd
from kubetune_trainer.report import svg
from kubetune_trainer.report.charts import learning_rate_chart, loss_chart, metrics_chart
from kubetune_trainer.report.series import Line, line, smoothing_window
from support.run_records import classification


def test_a_short_curve_keeps_every_point() -> None:
    curve = line([1, 2, 3], [3.0, 1.0, 2.0])
    assert curve.downsampled().y.tolist() == [3.0, 1.0, 2.0]


def test_a_long_curve_keeps_its_spikes_in_their_places() -> None:
    values = np.full(100_000, 0.5)
    values[31_234], values[77_777] = 9.0, -4.0
    curve = Line(np.arange(100_000.0), values).downsampled(buckets=400)
    assert len(curve.x) <= 800
    assert curve.y[list(curve.x).index(31_234)] == 9.0
    assert curve.y[list(curve.x).index(77_777)] == -4.0
    assert (np.diff(curve.x) > 0).all()


def test_a_stretch_without_numbers_stays_a_gap() -> None:
    values = [1.0] * 500 + [float("nan")] * 500 + [2.0] * 500
    curve = line(list(range(1500)), values).downsampled(buckets=30)
    middle = curve.y[(curve.x >= 500) & (curve.x < 1000)]
    assert len(middle) > 0
    assert np.isnan(middle).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e30, -1e300])
def test_what_cannot_be_drawn_is_a_gap(value: float) -> None:
    assert np.isnan(line([1.0], [value]).y).all()


def test_smoothing_is_the_mean_of_the_neighbours_that_exist() -> None:
    curve = line([1, 2, 3, 4, 5], [1.0, 2.0, float("nan"), 4.0, 5.0]).smoothed(3)
    assert curve.y.tolist() == pytest.approx([1.5, 1.5, 3.0, 4.5, 4.5])


def test_one_enormous_value_spoils_only_its_neighbourhood() -> None:
    values = [0.5] * 1000
    values[500] = 1e29
    smooth = line(list(range(1000)), values).smoothed(21).y
    assert smooth[:400].tolist() == pytest.approx([0.5] * 400)
    assert smooth[600:].tolist() == pytest.approx([0.5] * 400)


@pytest.mark.parametrize(("points", "window"), [(1, 1), (19, 1), (20, 5), (900, 31), (100_000, 501)])
def test_the_window_grows_with_the_run(points: int, window: int) -> None:
    assert smoothing_window(points) == window


def test_a_picture_has_the_pages_colours_and_nothing_from_outside() -> None:
    chart = loss_chart(classification())
    assert chart is not None
    assert set(re.findall(r"#[0-9a-f]{6}", chart.picture)) <= {"#000000"}
    assert "var(--series-1)" in chart.picture
    assert "var(--muted)" in chart.picture
    for word in ("http", "font-family", "<style", "<metadata", "<?xml"):
        assert word not in chart.picture


def test_the_legend_names_what_is_drawn_and_nothing_else() -> None:
    with_all, without_evaluations = classification(), classification(total=10)
    chart = loss_chart(with_all)
    assert chart is not None
    assert [key.name for key in chart.legend] == ["training", "mean of 35 steps", "validation", "test"]
    assert learning_rate_chart(without_evaluations) is not None


def test_the_step_whose_weights_are_published_is_marked_unless_it_is_the_last() -> None:
    record = classification()
    best = replace(record, end=TrainingEnd(1044, 1044, kept_step=696))
    for draw in (loss_chart, metrics_chart):
        marked, plain = draw(best), draw(record)
        assert marked is not None
        assert plain is not None
        assert [key.name for key in marked.legend][-1] == "published: step 696"
        assert marked.picture.count("stroke-dasharray") > plain.picture.count("stroke-dasharray")
        assert [key.kind for key in plain.legend].count("dashed") == 0


@pytest.mark.parametrize(
    ("epoch", "tick"),
    [
        pytest.param(1.0, "1", id="whole epochs"),
        pytest.param(0.35, "0.4", id="a run that ends within its first epoch"),
    ],
)
def test_each_evaluation_is_a_point_for_each_metric_over_its_epoch(epoch: float, tick: str) -> None:
    record = classification()
    judged = replace(record.evaluations[-1], split="validation", epoch=epoch)
    chart = metrics_chart(replace(record, evaluations=(judged, replace(judged, epoch=2 * epoch))))
    assert chart is not None
    points = re.findall(r'<use [^>]*style="fill: var\(--series-(\d)\)', chart.picture)
    assert sorted(points) == sorted(["1", "2", "3", "4"] * 2)
    assert f">{tick}</text>" in chart.picture


def test_a_single_value_is_no_curve() -> None:
    """Row N5: it is among the figures, and a point in an empty frame says nothing more."""
    record = classification()
    judged = replace(record.evaluations[-1], split="validation")
    assert metrics_chart(replace(record, evaluations=(judged,))) is None
    assert metrics_chart(replace(record, evaluations=(replace(judged, split="test"),))) is None
    assert learning_rate_chart(replace(record, steps=record.steps[:1])) is None


def test_mathematics_in_a_text_stays_a_text() -> None:
    picture = svg.draw("name", "summary", (200, 100), lambda axes: axes.set_xlabel("$x^2$"))
    assert ">$x^2$<" in picture
