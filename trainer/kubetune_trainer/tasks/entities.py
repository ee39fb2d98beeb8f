"""Entities in sequences of tags, counted as seqeval does in its default mode.

Where an entity begins and ends follows from each two neighbours, so that a table of all pairs of tags decides it: whole
batches are counted at once, and the counts of batches add up.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kubetune_trainer.data.tagged import OUTSIDE
from kubetune_trainer.data.tags import are_prefixed, place_and_type
from kubetune_trainer.tasks.class_metrics import ClassMetrics, of_each_class, ratios

if TYPE_CHECKING:
    import torch

Counts = dict[str, NDArray[np.float64]]
"""By name: what `entity_counts` gives, summed over all batches."""


@dataclass(frozen=True)
class Scheme:
    """What tags mean; a tag is its number in the order of the head's outputs."""

    tags: tuple[str, ...]

    @cached_property
    def _parts(self) -> list[tuple[str, str]]:
        prefixed = are_prefixed(self.tags)
        # Before the first word and behind the last one is no entity.
        return [*(place_and_type(tag, prefixed=prefixed) for tag in self.tags), (OUTSIDE, "_")]

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Those of the entities, in the order of their tags."""
        return tuple(dict.fromkeys(kind for place, kind in self._parts if place != OUTSIDE))

    @cached_property
    def type_of(self) -> NDArray[np.int64]:
        """[tags + 1]: the number of each tag's type; 0 for those without one."""
        return np.array([self.types.index(kind) if place != OUTSIDE else 0 for place, kind in self._parts])

    @cached_property
    def begins(self) -> NDArray[np.bool_]:
        """[tags + 1, tags + 1]: whether an entity begins with the second tag, behind the first."""
        return np.array([[_begins(before, one) for one in self._parts] for before in self._parts])

    @cached_property
    def ends(self) -> NDArray[np.bool_]:
        """[tags + 1, tags + 1]: whether an entity ends with the first tag, before the second."""
        return np.array([[_ends(one, behind) for behind in self._parts] for one in self._parts])


def _begins(before: tuple[str, str], one: tuple[str, str]) -> bool:
    place = one[0]
    return place in "BS" or (before[0] in "ESO" and place in "EI") or (place != OUTSIDE and before[1] != one[1])


def _ends(one: tuple[str, str], behind: tuple[str, str]) -> bool:
    place = one[0]
    return place in "ES" or (place in "BI" and behind[0] in "BSO") or (place != OUTSIDE and one[1] != behind[1])


def entity_counts(
    true: "torch.Tensor", predicted: "torch.Tensor", rows: "torch.Tensor", scheme: Scheme
) -> dict[str, "torch.Tensor"]:
    """How many entities of each type are there (`true`), were found (`predicted`), and are both (`hits`).

    `true` and `predicted` [words] are numbers of tags, row after row; `rows` [words] tells the row of each.
    """
    import torch

    kinds = torch.from_numpy(scheme.type_of).to(true.device)
    first, last = _edges(rows)
    begins_true, end_true = _entities(true, first, last, scheme)
    begins_predicted, end_predicted = _entities(predicted, first, last, scheme)
    hits = begins_true & begins_predicted & (end_true == end_predicted) & (kinds[true] == kinds[predicted])

    def by_type(tags: "torch.Tensor", chosen: "torch.Tensor") -> "torch.Tensor":
        return torch.bincount(kinds[tags[chosen]], minlength=len(scheme.types))

    return {
        "hits": by_type(true, hits),
        "true": by_type(true, begins_true),
        "predicted": by_type(predicted, begins_predicted),
    }


def _edges(rows: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """[words]: whether a word is the first of its row, and whether it is the last."""
    import torch

    edges = torch.ones(len(rows) + 1, dtype=torch.bool, device=rows.device)
    edges[1:-1] = rows[1:] != rows[:-1]
    return edges[:-1], edges[1:]


def _entities(
    tags: "torch.Tensor", first: "torch.Tensor", last: "torch.Tensor", scheme: Scheme
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """[words]: whether an entity begins there, and at which word the next entity ends."""
    import torch

    nothing = len(scheme.tags)
    begins, ends = (torch.from_numpy(table).to(tags.device) for table in (scheme.begins, scheme.ends))
    before = torch.where(first, nothing, tags.roll(1))
    behind = torch.where(last, nothing, tags.roll(-1))
    places = torch.where(ends[tags, behind], torch.arange(len(tags), device=tags.device), len(tags))
    return begins[before, tags], places.flip(0).cummin(0).values.flip(0) if len(tags) else places


@dataclass(frozen=True)
class EntityDetails:
    """How the entities of each type fared."""

    per_type: tuple[ClassMetrics, ...]
    """Its `rows` are entities."""
    predicted: tuple[int, ...]
    """How many entities of each type were found, rightly or not."""
    most_frequent: tuple[str, float]
    """The most frequent tag of the split, and its share of the words."""

    def to_dict(self) -> dict[str, Any]:
        """One object for each type."""
        rows = zip(self.per_type, self.predicted, strict=True)
        return {"perType": [_of_type(one, predicted) for one, predicted in rows]}


def entity_metrics(tally: Counts) -> tuple[float, float, float]:
    """Precision, recall and F1 of the entities of all types together, from the sum of `entity_counts`."""
    precision, recall, f1 = (float(one[0]) for one in ratios(*(each.sum(keepdims=True) for each in _counts(tally))))
    return precision, recall, f1


def entity_details(tally: Counts, tags: tuple[str, ...], scheme: Scheme) -> EntityDetails:
    """The same for each type; `words` of the tally are the words of each tag."""
    per_type = of_each_class(scheme.types, *_counts(tally))
    most = int(tally["words"].argmax())
    frequent = (tags[most], float(tally["words"][most] / tally["words"].sum()))
    return EntityDetails(per_type, tuple(map(int, tally["predicted"])), frequent)


def _counts(tally: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    return tally["hits"], tally["predicted"], tally["true"]


def _of_type(one: ClassMetrics, predicted: int) -> dict[str, Any]:
    values = asdict(one)
    return {"type": values.pop("label"), "entities": values.pop("rows"), "predicted": predicted, **values}
