"""What report, card and metrics.jsonl say of a regression."""

import json
import re

import pytest

from kubetune_trainer.records import RunRecord
from kubetune_trainer.report import metric_lines, render_card, render_report
from kubetune_trainer.report.findings import findings
from kubetune_trainer.report.headline import headline_figures
from support.run_records import regression

GOOD, USELESS = regression(0.3), regression(3.0)


def said(record: RunRecord, words: str) -> list[str]:
    return [finding for finding in findings(record) if words in finding]


def test_the_key_figures_are_beside_the_baseline() -> None:
    figures = {figure.name: figure for figure in headline_figures(GOOD)}
    metrics = GOOD.evaluations[-1].metrics
    assert float(figures["test R²"].value) == pytest.approx(metrics["r2"], abs=1e-4)
    said_of_rmse, said_of_r2 = (" ".join(figures[name].notes) for name in ("test RMSE", "test R²"))
    assert re.search(r"1\.\d+ by always predicting the training data's mean, 3\b", said_of_rmse)
    assert "1 is perfect, and 0 what always predicting the mean reaches" in said_of_r2


def test_a_model_no_better_than_the_mean_is_told_so() -> None:
    assert said(USELESS, "Always predicting the training data's mean, 3, would reach an RMSE of 1.")
    assert not said(GOOD, "no better")


def test_a_model_that_predicts_the_same_for_all_is_told_so_with_the_remedy() -> None:
    record = regression(0.3, flatness=0.01)
    assert said(record, "vary less than a twentieth as much as the values. A higher training.learningRate")
    assert not said(GOOD, "nearly the same")


def test_the_page_draws_predicted_against_true_values() -> None:
    page = render_report(GOOD)
    assert 'aria-label="Predicted against true values of 400 rows, 0.8000 to 5.200 each way' in page
    assert page.count('id="scatter-1-') > 0
    assert "Predicted and true values, number 2" in render_report(regression(numbers=2))


def test_the_curve_of_metrics_leaves_out_those_in_the_units_of_the_values() -> None:
    (summary,) = re.findall(r'aria-label="(Validation r2 at the end:[^"]*)"', render_report(GOOD))
    assert "pearson" in summary
    assert "rmse" not in summary


def test_the_card_says_how_to_ask_for_the_numbers() -> None:
    card = render_card(GOOD, "s3://models/ratings/model")
    assert "A model that tells the number of a text" in card
    assert "print(model(**inputs).logits[0].tolist())" in card
    assert "### Errors and correlations, on the test split" in card
    assert "type: pearsonr" in card


def test_an_evaluation_has_each_number_and_the_cells_of_its_plot() -> None:
    events = map(json.loads, metric_lines(regression(numbers=2)))
    *_, event = (event for event in events if event["type"] == "evaluation")
    assert [sorted(one) for one in event["perValue"]] == 2 * [
        ["baselineRmse", "mae", "pearson", "r2", "rmse", "spearman", "trainingMean"]
    ]
    assert sum(cell["rows"] for cell in event["scatter"][1]["cells"]) == 400
