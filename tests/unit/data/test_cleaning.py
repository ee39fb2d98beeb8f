"""Each step of the cleaning: what it drops or changes, and what it counts."""

from collections.abc import Sequence
from typing import Any

import pytest

from kubetune_api.job import Cleaning, FineTuneJobSpec
from kubetune_trainer.data.clean import Cleaner, steps_of
from kubetune_trainer.data.rows import Field, Row
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks import task_of
from support.data_files import causal, classification

NOTHING = {"unicodeNormalization": "None", "dropDuplicates": False}


PAIRS = classification(columns={"text": "a", "textPair": "b", "label": "c"})


def fields_of(spec: FineTuneJobSpec) -> tuple[Field, ...]:
    return task_of(spec).fields(spec)


def rows_of(values: Sequence[tuple[str | None, ...]], spec: FineTuneJobSpec) -> list[Row]:
    """Rows with the values of the task's fields, in their order."""
    names = tuple(field.name for field in fields_of(spec))
    return [Row(names, value, "a.csv", line) for line, value in enumerate(values)]


def cleaned(
    values: Sequence[tuple[str | None, ...]], *, labels: list[str] | None = None, **cleaning: Any
) -> tuple[list[tuple[str | None, ...]], dict[str, int]]:
    """What is left of (text, label) rows, and the counts that are not zero."""
    spec = classification(task={"labels": labels} if labels else {})
    kept, counts = Cleaner(Cleaning.model_validate(cleaning), fields_of(spec)).clean(rows_of(values, spec))
    return [row.values for row in kept], {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize(
    ("form", "text", "clean"),
    [
        ("NFC", "cafe\u0301", "café"),
        ("NFC", "ﬁlm", "ﬁlm"),
        ("NFKC", "ﬁlm", "film"),
        ("NFC", "a\x00b\x07c\x7fd\x9fe", "abcde"),
        ("NFC", "tab\there\nand there", "tab\there\nand there"),
        ("NFC", "one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("NFC", "👩\u200d💻", "👩\u200d💻"),
        ("None", "cafe\u0301\x07\r\n", "cafe\u0301\x07\r\n"),
    ],
    ids=[
        "an accent is joined to its letter",
        "a ligature stays with NFC",
        "a ligature is taken apart with NFKC",
        "control characters go",
        "tab and newline stay",
        "line ends become one character",
        "a joined emoji stays joined",
        "nothing is touched with None",
    ],
)
def test_texts_are_brought_to_one_form(form: str, text: str, clean: str) -> None:
    kept, counts = cleaned([(text, "a")], unicodeNormalization=form)
    assert kept == [(clean, "a")]
    assert counts == ({"unicodeNormalization": 1} if text != clean else {})


def test_texts_that_become_equal_are_duplicates() -> None:
    kept, counts = cleaned([("cafe\u0301", "a"), ("café", "a")])
    assert kept == [("café", "a")]
    assert counts == {"unicodeNormalization": 1, "dropDuplicates": 1}


@pytest.mark.parametrize("blank", [None, "", " ", "\t\n", "\u3000", "\x00"])
def test_a_row_with_a_blank_text_or_label_is_dropped(blank: str | None) -> None:
    kept, counts = cleaned([("film", "a"), (blank, "a"), ("another", blank)])
    assert kept == [("film", "a")]
    assert counts["dropEmpty"] == 2


def test_an_empty_row_is_an_error_where_it_may_not_be_dropped() -> None:
    with pytest.raises(RunError, match=r"^a.csv, line 1: the column 'label' is empty; fill it"):
        cleaned([("film", "a"), ("another", " ")], dropEmpty=False)


def test_a_text_needs_the_least_number_of_characters_without_its_outer_spaces() -> None:
    kept, counts = cleaned([("  1234 ", "a"), (" 12345", "a")], minCharacters=5)
    assert kept == [(" 12345", "a")]
    assert counts == {"minCharacters": 1}


def test_the_completion_and_not_the_prompt_needs_the_characters() -> None:
    rows = rows_of([("why?", "because"), ("a long question", "so")], causal())
    kept, counts = Cleaner(Cleaning(min_characters=5), fields_of(causal())).clean(rows)
    assert [row["prompt"] for row in kept] == ["why?"]
    assert counts["minCharacters"] == 1


def test_the_first_of_the_rows_with_one_text_stays() -> None:
    kept, counts = cleaned([("film", "good"), ("Film", "good"), ("film", "bad"), ("film", "good"), ("film", "good")])
    assert kept == [("film", "good"), ("Film", "good")]
    assert counts == {"conflictingDuplicates": 1, "dropDuplicates": 2}


def test_duplicates_stay_where_they_may() -> None:
    rows = [("film", "good"), ("film", "bad"), ("film", "good")]
    assert cleaned(rows, dropDuplicates=False) == (rows, {})


def test_pairs_are_duplicates_only_if_both_texts_are() -> None:
    rows = rows_of([("one", "two", "yes"), ("one", "three", "yes"), ("one", "two", "yes")], PAIRS)
    kept, counts = Cleaner(Cleaning(), fields_of(PAIRS)).clean(rows)
    assert [(row["text"], row["text_pair"]) for row in kept] == [("one", "two"), ("one", "three")]
    assert counts["dropDuplicates"] == 1


def test_prompts_with_several_answers_stay() -> None:
    rows = rows_of([("why?", "because"), ("why?", "who knows"), ("why?", "because")], causal())
    kept, counts = Cleaner(Cleaning(), fields_of(causal())).clean(rows)
    assert [row["completion"] for row in kept] == ["because", "who knows"]
    assert counts == {"unicodeNormalization": 0, "dropEmpty": 0, "dropDuplicates": 1}


def test_rows_with_other_labels_are_dropped_before_duplicates_are_sought() -> None:
    rows = [("film", "plot"), ("film", "good"), ("dull", "bad")]
    kept, counts = cleaned(rows, labels=["bad", "good"], dropOtherLabels=True)
    assert kept == [("film", "good"), ("dull", "bad")]
    assert counts == {"dropOtherLabels": 1}


def test_a_label_is_the_one_given_whatever_its_spaces_and_its_unicode_form() -> None:
    kept, _ = cleaned([("film", " cafe\u0301 ")], labels=["café", "bar"], dropOtherLabels=True)
    assert kept == [("film", "café")]


def test_steps_that_the_job_does_not_ask_for_are_not_reported() -> None:
    spec = classification()
    _, counts = Cleaner(Cleaning.model_validate(NOTHING), fields_of(spec)).clean(rows_of([("film", "a")], spec))
    assert [step.name for step in steps_of(counts)] == ["dropEmpty"]


def test_steps_are_reported_in_the_order_they_happen() -> None:
    spec = classification(task={"labels": ["a", "b"]})
    cleaning = Cleaning(min_characters=3, drop_other_labels=True)
    _, counts = Cleaner(cleaning, fields_of(spec)).clean(rows_of([("film", "a")], spec))
    steps = steps_of(counts)
    assert [step.name for step in steps] == [
        "unicodeNormalization",
        "dropEmpty",
        "minCharacters",
        "dropOtherLabels",
        "conflictingDuplicates",
        "dropDuplicates",
    ]
    assert [step.name for step in steps if not step.dropped] == ["unicodeNormalization"]
