"""The split: exact, stratified, stable, and no text in two places."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.split import Key, allocate, split
from kubetune_trainer.tasks.causal import CausalLanguageModel
from kubetune_trainer.tasks.classification import Classification

CLASSIFICATION = Classification()
FRACTIONS = st.floats(min_value=0.0, max_value=0.45)
LABELS = st.sampled_from(["a", "b", "c"])
# Few letters, so that texts repeat and differ by case and spaces alone.
REPEATED = st.lists(st.tuples(st.text(alphabet="xX ", min_size=1, max_size=4), LABELS), min_size=1, max_size=60)
DISTINCT = st.lists(LABELS, min_size=1, max_size=120)


def rows_of(values: list[tuple[str, str]]) -> list[Row]:
    return [Row(("text", "label"), (text, label), "a.csv", line) for line, (text, label) in enumerate(values)]


def distinct(labels: list[str]) -> list[Row]:
    return rows_of([(f"text {number}", label) for number, label in enumerate(labels)])


def divided(
    rows: list[Row], validation: float = 0.1, test: float = 0.1, *, seed: int = 0, stratify: bool = True,
    key: Key = CLASSIFICATION.group,
) -> dict[str, list[Row]]:  # fmt: skip
    return split(
        rows,
        validation=validation,
        test=test,
        seed=seed,
        key=key,
        stratum=lambda row: row["label"] if stratify else None,
    )


def sizes(parts: dict[str, list[Row]]) -> dict[str, int]:
    return {name: len(rows) for name, rows in parts.items()}


@given(REPEATED, FRACTIONS, FRACTIONS, st.booleans(), st.integers(0, 2**32 - 1))
def test_no_text_stands_in_two_splits_and_no_row_is_lost(
    values: list[tuple[str, str]], validation: float, test: float, stratify: bool, seed: int
) -> None:
    rows = rows_of(values)
    parts = divided(rows, validation, test, seed=seed, stratify=stratify)
    assert Counter(row for part in parts.values() for row in part) == Counter(rows)
    keys = [{" ".join(row["text"].casefold().split()) for row in part} for part in parts.values()]
    assert sum(map(len, keys)) == len(set().union(*keys))
    assert parts["train"]


@given(REPEATED, FRACTIONS, FRACTIONS, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_files_changes_nothing(
    values: list[tuple[str, str]], validation: float, test: float, stratify: bool, random: "st.random.Random"
) -> None:
    shuffled = random.sample(values, len(values))
    one = divided(rows_of(values), validation, test, stratify=stratify)
    other = divided(rows_of(shuffled), validation, test, stratify=stratify)
    for name in one:
        assert [(row["text"], row["label"]) for row in one[name]] == [
            (row["text"], row["label"]) for row in other[name]
        ]


@given(DISTINCT, FRACTIONS, FRACTIONS)
def test_distinct_texts_without_strata_split_into_exact_sizes(
    labels: list[str], validation: float, test: float
) -> None:
    rows = distinct(labels)
    wanted_test = min(math.floor(len(rows) * test + 0.5), len(rows) - 1)
    wanted_validation = min(math.floor(len(rows) * validation + 0.5), len(rows) - 1 - wanted_test)
    parts = divided(rows, validation, test, stratify=False)
    assert (len(parts["validation"]), len(parts["test"])) == (wanted_validation, wanted_test)


@given(DISTINCT, FRACTIONS, FRACTIONS)
def test_every_label_is_split_by_the_same_shares_to_within_a_row_and_stays_in_training(
    labels: list[str], validation: float, test: float
) -> None:
    parts = divided(distinct(labels), validation, test)
    counts = {name: Counter(row["label"] for row in part) for name, part in parts.items()}
    for label, total in Counter(labels).items():
        assert counts["train"][label] >= 1
        assert abs(counts["test"][label] - total * test) <= 1
        # What the test split may not take is not there for validation either: two roundings meet.
        assert counts["validation"][label] - total * validation < 1
        assert counts["validation"][label] >= min(math.floor(total * validation), total - 1 - counts["test"][label])


@given(DISTINCT.filter(lambda labels: len(labels) >= 20), st.integers(0, 2**32 - 1))
def test_the_total_is_exact_though_every_label_rounds_its_own_share(labels: list[str], seed: int) -> None:
    parts = divided(distinct(labels), 0.1, 0.1, seed=seed)
    room = len(labels) - len(set(labels))
    wanted = min(math.floor(len(labels) * 0.1 + 0.5), room)
    assert len(parts["test"]) == wanted
    assert len(parts["validation"]) == min(wanted, room - wanted)


def test_a_thousand_rows_split_by_tenths_with_the_same_shares() -> None:
    parts = divided(distinct(["a"] * 700 + ["b"] * 250 + ["c"] * 50))
    assert sizes(parts) == {"train": 800, "validation": 100, "test": 100}
    for name in ("validation", "test"):
        assert Counter(row["label"] for row in parts[name]) == {"a": 70, "b": 25, "c": 5}


@pytest.mark.parametrize(
    ("labels", "test", "taken"),
    [
        (["a"] * 9 + ["b"], 0.3, {"a": 3}),
        (["a"] * 4 + ["b"] * 2, 0.5, {"a": 2, "b": 1}),
        (["a"] * 5 + ["b"] * 5, 0.1, {"a": 1}),
        (["a", "b", "c", "d"], 0.25, {}),
        (["a", "a"], 0.5, {"a": 1}),
        (["a"] * 3, 0.9, {"a": 2}),
    ],
    ids=[
        "a label with one row keeps it in training",
        "half of each",
        "one row for two labels goes to the first of equal remainders",
        "single rows are never held out",
        "one of two",
        "never the last one",
    ],
)
def test_small_labels_are_split_as_people_expect(labels: list[str], test: float, taken: dict[str, int]) -> None:
    assert Counter(row["label"] for row in divided(distinct(labels), 0.0, test)["test"]) == taken


def test_new_rows_leave_nearly_all_others_where_they_were() -> None:
    before = divided(distinct(["a", "b"] * 1000))
    after = divided(distinct(["a", "b"] * 1100))
    place = {row["text"]: name for name, rows in before.items() for row in rows}
    moved = sum(place.get(row["text"], name) != name for name, rows in after.items() for row in rows)
    assert moved <= 2000 * 0.02
    assert sizes(after) == {"train": 1760, "validation": 220, "test": 220}


def test_another_seed_gives_another_split() -> None:
    rows = distinct(["a", "b"] * 100)
    assert {row["text"] for row in divided(rows)["test"]} != {row["text"] for row in divided(rows, seed=1)["test"]}


def test_the_labels_are_mixed_in_every_split() -> None:
    for part in divided(distinct(["a", "b"] * 1000), 0.3, 0.3).values():
        assert min(Counter(row["label"] for row in part[:16]).get(label, 0) for label in "ab") >= 4


def test_groups_of_equal_texts_stay_near_the_wanted_size() -> None:
    rows = rows_of([(f"text {number // 3}", "a") for number in range(300)])
    assert {name: abs(size - {"train": 240}.get(name, 30)) <= 3 for name, size in sizes(divided(rows)).items()} == {
        "train": True,
        "validation": True,
        "test": True,
    }


def test_a_small_group_is_held_out_though_a_large_one_cannot_be() -> None:
    rows = rows_of([*[("common", "a")] * 30, *((f"text {number}", "a") for number in range(3))])
    assert all(sizes(divided(rows, 0.0, 0.1, seed=seed))["test"] == 3 for seed in range(20))


def test_one_text_alone_stays_in_training() -> None:
    assert sizes(divided(rows_of([("same", "a")] * 50), 0.4, 0.4)) == {"train": 50, "validation": 0, "test": 0}


def test_a_text_with_two_labels_goes_with_the_rarer_one() -> None:
    rows = rows_of([("Shared", "rare"), ("shared ", "common"), *((f"text {number}", "common") for number in range(98))])
    parts = divided(rows, 0.3, 0.3)
    assert {row["text"] for row in parts["train"]} >= {"Shared", "shared "}
    assert sizes(parts) == {"train": 40, "validation": 30, "test": 30}


def test_answers_to_one_question_stay_together() -> None:
    rows = [
        Row(("prompt", "completion"), (f"Why {number // 4}?", f"answer {number}"), "a.csv", number)
        for number in range(200)
    ]
    parts = divided(rows, stratify=False, key=CausalLanguageModel().group)
    prompts = [{row["prompt"] for row in part} for part in parts.values()]
    assert sum(map(len, prompts)) == 50
    assert sizes(parts) == {"train": 160, "validation": 20, "test": 20}


@pytest.mark.parametrize(
    ("counts", "share", "capacity", "given_up"),
    [
        ([70, 20, 10], 0.1, [69, 19, 9], [7, 2, 1]),
        ([7, 7, 7], 0.1, [6, 6, 6], [1, 1, 0]),
        ([100], 0.29, [99], [29]),
        ([1, 1, 1, 1], 0.5, [0, 0, 0, 0], [0, 0, 0, 0]),
        ([10, 1], 0.5, [9, 0], [6, 0]),
        ([], 0.5, [], []),
    ],
    ids=[
        "whole shares",
        "the remainders go to the first of equals",
        "a product that floats fall short of",
        "no capacity",
        "what one cannot give another gives",
        "nothing",
    ],
)
def test_shares_are_allocated_by_largest_remainder(
    counts: list[int], share: float, capacity: list[int], given_up: list[int]
) -> None:
    assert allocate(counts, share, capacity) == given_up
