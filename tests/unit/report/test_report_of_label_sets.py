"""What report, card and metrics.jsonl say of a classification of several labels."""

import json
from dataclasses import replace

import pytest

from kubetune_trainer.report import metric_lines, render_card, render_report
from kubetune_trainer.report.findings import findings
from kubetune_trainer.report.headline import headline_figures
from support.run_records import label_sets

TUNED = label_sets()
THRESHOLD = TUNED.evaluations[-1].details.threshold  # type: ignore[union-attr]


def test_the_key_figures_say_at_which_threshold_and_what_a_guess_would_reach() -> None:
    (figure,) = [figure for figure in headline_figures(TUNED) if figure.name == "test F1 (micro)"]
    threshold, baseline = figure.notes
    assert threshold == f"labels are given from a score of {THRESHOLD:g} on, as the validation split chose"
    assert baseline.startswith("0.")
    assert baseline.endswith("to every text")


def test_a_threshold_of_the_manifest_is_called_so() -> None:
    assert "from a score of 0.5 on, as set" in render_report(label_sets(tuned=False))


def test_the_page_draws_other_thresholds_and_has_a_table_of_labels_without_a_matrix() -> None:
    page = render_report(TUNED)
    assert "By threshold" in page
    assert f"It is {THRESHOLD:g}; F1 is highest" in page
    assert ">fee</" in page
    assert "Confusion matrix" not in page


def test_the_card_says_the_threshold_and_how_to_apply_it() -> None:
    card = render_card(TUNED, "s3://models/clauses/model")
    assert f"A label is given from a score of {THRESHOLD} on, as the validation split chose" in card
    assert "if score >= model.config.threshold])" in card
    assert "| `term` |" in card


def test_an_evaluation_has_each_label_and_each_threshold() -> None:
    events = map(json.loads, metric_lines(TUNED))
    *_, event = (event for event in events if event["type"] == "evaluation")
    assert [one["label"] for one in event["perClass"]] == ["fee", "term", "law"]
    assert event["threshold"] == THRESHOLD
    assert len(event["thresholds"]) == 99


@pytest.mark.parametrize("given", [0, 3])
def test_a_label_that_is_never_given_is_told(given: int) -> None:
    *before, last = TUNED.evaluations
    details = replace(last.details, given=(given, 9, 9))  # type: ignore[type-var]
    record = replace(TUNED, evaluations=(*before, replace(last, details=details)))
    told = [finding for finding in findings(record) if "The model never gave “fee” on the test split" in finding]
    assert bool(told) is (given == 0)
