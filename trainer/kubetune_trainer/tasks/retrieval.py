"""How well texts are found by their vectors: at which place its own text comes for each anchor, and how far apart the
right ones and the others lie."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 40
"""Of the cosines from -1 to 1."""
_ROUNDING = 1e-7
"""By so much the cosines of two equal pairs of vectors may differ."""

Vectors = NDArray[np.float64]
"""[rows, hidden], each of length 1."""
Numbers = NDArray[np.int64]
"""[rows]: which text it is; the same text has the same number."""


@dataclass(frozen=True)
class RetrievalDetails:
    """How similar anchors are to their own texts, and to those of other rows."""

    candidates: int
    """Different texts that each anchor searches among."""
    own: tuple[int, ...]
    """How many cosines of anchors and their own texts are in each of the bins."""
    others: tuple[int, ...]
    """The same of anchors and texts that are not theirs."""

    @property
    def edges(self) -> list[float]:
        """The borders of the bins, one more than there are bins."""
        return [round(-1 + 2 * place / BINS, 4) for place in range(BINS + 1)]

    def to_dict(self) -> dict[str, Any]:
        """The bins in which there is anything."""
        return {
            "candidates": self.candidates,
            "cosines": [
                {"from": self.edges[place], "to": self.edges[place + 1], "own": own, "others": others}
                for place, (own, others) in enumerate(zip(self.own, self.others, strict=True))
                if own or others
            ],
        }


def ranks_of(anchors: Vectors, positives: Vectors, asked: Numbers, texts: Numbers) -> NDArray[np.int64]:
    """[rows]: the place, from 1, of each anchor's own text among all the different ones.

    Others that belong to the same anchor are passed over. A text that is as near as the own one comes before it, so
    vectors that are all alike find nothing.
    """
    scores, rivals = anchors @ positives.T, _rivals(asked, texts)
    own = np.einsum("ih,ih->i", anchors, positives)
    nearer: NDArray[np.int64] = np.sum((scores >= own[:, np.newaxis] - _ROUNDING) & rivals, axis=1)
    return nearer + 1


def places_told(rows: Numbers, ranks: Numbers, candidates: int) -> dict[int, str]:
    """In words, by the row's number, where each anchor finds its own text."""
    return {
        row: f"its own text in place {rank:,} of {candidates:,}"
        for row, rank in zip(rows.tolist(), ranks.tolist(), strict=True)
    }


def similarities_of(anchors: Vectors, positives: Vectors, asked: Numbers, texts: Numbers) -> RetrievalDetails:
    """The cosines, counted."""
    edges = np.linspace(-1, 1, BINS + 1)
    own = np.clip(np.einsum("ih,ih->i", anchors, positives), -1, 1)
    others = np.clip((anchors @ positives.T)[_rivals(asked, texts)], -1, 1)
    counts = [tuple(np.histogram(cosines, edges)[0].tolist()) for cosines in (own, others)]
    return RetrievalDetails(len(np.unique(texts)), *counts)


def _rivals(asked: Numbers, texts: Numbers) -> NDArray[np.bool_]:
    """[anchors, texts]: which texts an anchor must not find; of a text that is there several times, the first."""
    first = np.zeros(len(texts), dtype=np.bool_)
    first[np.unique(texts, return_index=True)[1]] = True
    place_of = dict(zip(texts[first].tolist(), np.flatnonzero(first).tolist(), strict=True))
    right: dict[int, list[int]] = {}
    for anchor, text in zip(asked.tolist(), texts.tolist(), strict=True):
        right.setdefault(anchor, []).append(place_of[text])
    rivals = np.tile(first, (len(asked), 1))
    for row, anchor in enumerate(asked.tolist()):
        rivals[row, right[anchor]] = False
    return rivals
