"""Metrics of written answers, held against the libraries that the field counts them with."""

from typing import Any

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from kubetune_api.metrics import METRICS
from kubetune_api.tasks import TASKS
from kubetune_trainer.tasks.text_metrics import metrics_of, nothing, sums_of, token_f1

PAIRS = [
    ("The cat sat on the mat.", "The cat sat on a mat"),
    ("Press the power button for ten seconds.", "Press the button and wait."),
    ("Yes", "Yes"),
    ("A summary of some length, with commas.", ""),
]
EVERY = TASKS["Seq2Seq"].generated_metrics


def measured(pairs: list[tuple[str, str]] = PAIRS) -> dict[str, float]:
    return metrics_of(sum((sums_of(*pair) for pair in pairs), nothing()), EVERY)


def test_every_metric_of_answers_is_measured() -> None:
    assert set(EVERY) <= METRICS.keys()
    assert tuple(measured()) == EVERY


@pytest.mark.parametrize(("name", "theirs"), [("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")])
def test_rouge_is_that_of_rouge_score(name: str, theirs: str) -> None:
    scorer: Any = RougeScorer([theirs])
    scores = [scorer.score(*pair)[theirs].fmeasure for pair in PAIRS]
    assert measured()[name] == pytest.approx(sum(scores) / len(scores))


def test_bleu_is_that_of_the_whole_and_no_mean_of_rows() -> None:
    corpus = BLEU().corpus_score([said for _, said in PAIRS], [[expected for expected, _ in PAIRS]])
    assert measured()["bleu"] == pytest.approx(corpus.score)


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(PAIRS, id="sentences"),
        pytest.param([("Привет, мир", "Привет  всем"), ("雨が降る", "雪が降る")], id="other scripts"),
        pytest.param([("no", "not at all"), ("a longer answer", "a longer one")], id="shorter than a run"),
        pytest.param([("yes", "")], id="nothing written"),
        pytest.param([("abc", "xyz")], id="nothing shared"),
    ],
)
def test_chrf_is_that_of_sacrebleu_over_the_whole(pairs: list[tuple[str, str]]) -> None:
    corpus = CHRF().corpus_score([said for _, said in pairs], [[expected for expected, _ in pairs]])
    assert measured(pairs)["chrf"] == pytest.approx(corpus.score)


def test_words_of_other_scripts_count() -> None:
    found = measured([("Привет мир", "Привет мир")])
    assert (found["rouge_1"], found["token_f1"], found["exact_match"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("expected", "written", "value"),
    [
        ("The Eiffel Tower.", "eiffel tower", 1.0),
        ("in the Tower of London", "Tower of London, England", 0.75),
        ("yes", "no", 0.0),
        ("", "", 1.0),
        ("yes", "", 0.0),
    ],
)
def test_token_f1_is_that_of_squad(expected: str, written: str, value: float) -> None:
    assert token_f1(expected, written) == pytest.approx(value)


def test_an_exact_match_may_differ_in_spaces_alone() -> None:
    assert measured([("a  b", " a b"), ("a b", "A b")])["exact_match"] == 0.5


def test_no_row_is_no_number() -> None:
    assert metrics_of(nothing(), ("rouge_l",))["rouge_l"] != metrics_of(nothing(), ("rouge_l",))["rouge_l"]
