"""Entities in sequences of tags: those that seqeval counts, whatever sequences there are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score

from kubetune_trainer.tasks.base import IGNORED, Losses, MicroBatch
from kubetune_trainer.tasks.entities import EntityDetails
from kubetune_trainer.tasks.tagging import Tagging, Tags

IOB = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
IOBES = (*IOB, "E-PER", "S-PER", "E-LOC", "S-LOC")
BARE = ("O", "B", "I")


def judged(rows: list[list[tuple[int, int]]], tags: tuple[str, ...], batches: int = 2) -> tuple[dict, EntityDetails]:
    """What an evaluation says of pairs of a true and a predicted tag, between tokens that do not count."""
    task, space, total = Tagging(), Tags(tags), {}
    for part in filter(len, (rows[number::batches] for number in range(batches))):
        longest = 2 * max(map(len, part)) + 1
        targets, answers = torch.full((len(part), longest), IGNORED), torch.zeros(len(part), longest, dtype=torch.int64)
        for number, row in enumerate(part):
            for place, (true, predicted) in enumerate(row):
                targets[number, 2 * place + 1], answers[number, 2 * place + 1] = true, predicted
        batch = MicroBatch({}, targets, np.arange(len(part)))
        for name, counts in task.tally(Losses(torch.zeros(len(part)), answers), batch, space).items():
            total[name] = total.get(name, 0) + counts.double().numpy()
    measured = task.measure(total, space)
    assert isinstance(measured.details, EntityDetails)
    return measured.metrics, measured.details


def words(tags: tuple[str, ...]) -> st.SearchStrategy[list[list[tuple[int, int]]]]:
    numbers = st.integers(0, len(tags) - 1)
    return st.lists(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=9), min_size=1, max_size=6)


@pytest.mark.filterwarnings("ignore")  # seqeval's own, of types without entities
@pytest.mark.parametrize("tags", [IOB, IOBES, BARE], ids=["IOB", "IOBES", "without types"])
@given(data=st.data())
def test_entities_are_counted_as_seqeval_counts_them(tags: tuple[str, ...], data: st.DataObject) -> None:
    rows = data.draw(words(tags))
    metrics, details = judged(rows, tags)
    true, predicted = ([[tags[pair[side]] for pair in row] for row in rows] for side in (0, 1))
    for name, theirs in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert metrics[f"entity_{name}"] == pytest.approx(theirs(true, predicted, zero_division=0))
    assert metrics["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    report = (
        classification_report(true, predicted, output_dict=True, zero_division=0) if _has_any(true, predicted) else {}
    )
    for one in details.per_type:
        known = report.get(one.label, {"precision": 0, "recall": 0, "f1-score": 0, "support": 0})
        assert (one.precision, one.recall, one.f1, one.rows) == pytest.approx(
            (known["precision"], known["recall"], known["f1-score"], known["support"])
        )


def _has_any(*sides: list[list[str]]) -> bool:
    return any(tag != "O" for side in sides for row in side for tag in row)


def test_neighbours_of_the_same_plain_tag_are_one_entity() -> None:
    metrics, details = judged([[(1, 1), (1, 1), (0, 0), (1, 2)]], ("O", "PER", "LOC"))
    assert [(one.label, one.rows, one.recall) for one in details.per_type] == [("PER", 2, 0.5), ("LOC", 0, 0.0)]
    assert details.predicted == (1, 1)
    assert metrics["entity_f1"] == pytest.approx(0.5)


def test_an_entity_does_not_reach_into_the_next_row() -> None:
    _, details = judged([[(1, 1)], [(2, 2)]], IOB, batches=1)
    assert details.per_type[0].rows == 2
