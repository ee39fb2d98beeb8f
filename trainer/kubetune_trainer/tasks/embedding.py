"""Embedding: each text gets a vector, near those of the texts that belong to it and far from the others of its
micro-batch, or as near to that of another text as a score says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from math import ceil
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.job.task_settings import EmbeddingSettings
from kubetune_api.metrics import LOSS
from kubetune_api.tasks import TASKS
from kubetune_trainer.data.encode import encode_texts
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.split import folded
from kubetune_trainer.data.tokens import Encoded, side_by_side
from kubetune_trainer.data.values import text_of
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import DataReport, Details, EvaluationRecord
from kubetune_trainer.tasks import scored_pairs
from kubetune_trainer.tasks.base import IGNORED, CardText, Forward, Losses, Measured, MicroBatch, Tally
from kubetune_trainer.tasks.number_metrics import Frame, RegressionDetails
from kubetune_trainer.tasks.retrieval import RetrievalDetails, places_told, ranks_of, similarities_of
from kubetune_trainer.tasks.sentence_files import sentence_files

if TYPE_CHECKING:
    import torch

MOST_CANDIDATES = 1_000
"""The first rows of a split, whose vectors an evaluation keeps: an array of a fixed size. Those of a dataset of its own
are the first of its files."""
COMPARED = 32
"""Rows that the loss of an evaluation compares with each other, at most: the same ones whatever is trained on at a
time, so that the losses of two runs can be compared."""


@dataclass(frozen=True)
class VectorSpace:
    """How texts become vectors, and how these are compared."""

    parts: tuple[str, ...]
    pooling: Literal["Mean", "CLS"]
    temperature: float
    frame: Frame | None = None
    """Where the scores lie; None: rows have none, and are compared with each other."""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextNumbers:
    """Which text each part of a row is."""

    numbers: NDArray[np.int64]
    """[rows, parts]: a text has the same number wherever it stands in the split."""

    def per_row(self, split: EncodedSplit) -> NDArray[np.int64]:
        """See `Targets`."""
        return np.ones(split.rows, dtype=np.int64)

    def padded(self, split: EncodedSplit, rows: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
        """[rows, parts]: the numbers."""
        return self.numbers[rows]

    def learned(self, split: EncodedSplit, row: int, labels: Sequence[str]) -> NDArray[np.bool_]:
        """No token is an answer."""
        return np.zeros(split.lengths[row], dtype=np.bool_)


class Embedding:
    """See the module, and `TrainingTask` for each method."""

    name = "Embedding"
    new_head = False
    generation = None
    details: type[Details] | UnionType = RetrievalDetails | RegressionDetails

    def fields(self, spec: FineTuneJobSpec) -> tuple[Field, ...]:
        """The texts, and where there is one their score."""
        texts = [Field(part, Column.of(spec, part), text_of, measured=True) for part in _parts(spec)]
        return (*texts, *[scored_pairs.score_field(column) for column in _score_column(spec)])

    def space(
        self, spec: FineTuneJobSpec, sources: Mapping[str, Sequence[Row]], classes: Mapping[str, Sequence[str]]
    ) -> VectorSpace:
        """What the manifest says of the vectors."""
        settings = spec.task.embedding or EmbeddingSettings()
        frames = [scored_pairs.frame_of(sources, column) for column in _score_column(spec)]
        return VectorSpace(_parts(spec), settings.pooling, settings.heat, frames[0] if frames else None)

    def group(self, row: Row) -> str:
        """The anchor: what is searched for in a test was not trained on. With a score both texts, in any order."""
        if scored_pairs.SCORE in row.names:
            return folded(*sorted((row["sentence1"], row["sentence2"])))
        return folded(row["anchor"])

    def stratum(self, row: Row) -> None:
        """There is nothing to share out."""

    def refuse_untaught(self, spec: FineTuneJobSpec, space: VectorSpace, training: Sequence[Row]) -> None:
        """A row without a score learns from the others."""
        if space.frame is None and len({row["positive"] for row in training}) < 2:
            raise invalid_data(
                f"{Column.of(spec, 'positive').field}: all rows of the training split have the same text here, so there"
                " is none that an anchor could be told from; add rows with other texts"
            )

    def data_notes(self, sources: Mapping[str, Sequence[Row]], tokenizer: Any) -> Iterator[str]:
        """A text is a text."""
        return iter(())

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int, space: VectorSpace) -> Encoded:
        """Each text is a sequence of its own; rows of which a text has no token are not kept."""
        tokens = side_by_side({part: encode_texts(rows, tokenizer, max_length, field=part) for part in space.parts})
        if space.frame is not None:
            return tokens.with_targets(scored_pairs.ScoreTargets.of(list(compress(rows, tokens.kept))))
        known: dict[bytes, int] = {}
        numbers = [
            known.setdefault(tokens.tokens[start:end].tobytes(), len(known)) for start, end in pairwise(tokens.offsets)
        ]
        targets = TextNumbers(np.array(numbers, dtype=np.int64).reshape(-1, len(space.parts)))
        return tokens.with_targets(targets, compares_rows=True)

    def model_class(self) -> Any:
        """Without a head."""
        from transformers import AutoModel

        return AutoModel

    def configure(self, config: Any, space: VectorSpace) -> None:
        """Nothing of the model changes."""

    def fits_head(self, config: Any, space: VectorSpace) -> bool:
        """There is none."""
        return True

    def files_beside(self, config: Any, space: VectorSpace, max_length: int) -> Mapping[str, str]:
        """Those that sentence-transformers reads."""
        return sentence_files(config.hidden_size, space.pooling, max_length)

    def losses(self, forward: Forward, batch: MicroBatch, space: VectorSpace) -> Losses:
        """How sure each anchor is of its own text, among those of the batch; or how far cosines are from scores."""
        vectors = pooled(forward(**batch.inputs).last_hidden_state, batch.inputs["attention_mask"], space.pooling)
        vectors = vectors.reshape(len(batch.targets), len(space.parts), -1)
        if space.frame is not None:
            return scored_pairs.cosine_losses(vectors, batch.targets)
        return Losses(contrastive_losses(vectors, batch.targets, space.temperature), vectors)

    def tally(self, losses: Losses, batch: MicroBatch, space: VectorSpace) -> Tally:
        """The vectors of the first rows of the split, each in its place, with the numbers of their texts (from 1)."""
        import torch

        if space.frame is not None:
            return scored_pairs.tally_of(losses, batch, space.frame)
        kept = batch.rows[batch.rows < MOST_CANDIDATES]
        from_batch = np.flatnonzero(batch.rows < MOST_CANDIDATES)
        vectors = losses.outputs.new_zeros(MOST_CANDIDATES, *losses.outputs.shape[1:])
        texts = batch.targets.new_zeros(MOST_CANDIDATES, batch.targets.shape[1])
        places, taken = torch.from_numpy(kept), torch.from_numpy(from_batch)
        vectors[places] = losses.outputs[taken]
        texts[places] = batch.targets[taken] + 1
        return {"vectors": vectors, "texts": texts}

    def measure(self, tally: dict[str, NDArray[np.float64]], space: VectorSpace) -> Measured:
        """The loss, in batches of the rows as they come, and at which place each anchor finds its own text."""
        if space.frame is not None:
            return scored_pairs.measured(tally, space.frame)
        there = tally["texts"][:, 0] > 0
        vectors, texts = tally["vectors"][there], tally["texts"][there].astype(np.int64)
        ranks = ranks_of(vectors[:, 0], vectors[:, 1], texts[:, 0], texts[:, 1])
        within = {f"recall_at_{most}": (ranks <= most).astype(np.float64) for most in (1, 10)}
        means = {**within, "mrr": 1 / ranks.astype(np.float64)}
        metrics = {LOSS: _mean_loss(vectors, texts, space), **{name: float(of.mean()) for name, of in means.items()}}
        details = similarities_of(vectors[:, 0], vectors[:, 1], texts[:, 0], texts[:, 1])
        answers = places_told(np.flatnonzero(there), ranks, details.candidates)
        return Measured(metrics, details, answers=answers, means=means)

    def notes(self, metric: str, evaluation: EvaluationRecord, data: DataReport) -> list[str]:
        """Among how many texts an anchor searches."""
        details = evaluation.details
        if not isinstance(details, RetrievalDetails):
            return []
        if metric == LOSS:
            return [f"each text among those of at most {COMPARED} rows"]
        return [f"among {details.candidates:,} texts of the {evaluation.split} split"]

    def findings(self, evaluation: EvaluationRecord | None, data: DataReport) -> Iterator[str]:
        """What the figures cannot tell."""
        split = evaluation and data.split(evaluation.split)
        if evaluation and isinstance(evaluation.details, RegressionDetails):
            yield from scored_pairs.findings(evaluation.split, evaluation.details)
        elif split and split.rows > MOST_CANDIDATES:
            yield (
                f"The search is judged on the first {MOST_CANDIDATES:,} of the {split.rows:,} rows of the {split.name}"
                " split; among more texts it finds its own less often."
            )

    def card(self, spec: FineTuneJobSpec, data: DataReport) -> CardText:
        """How to get vectors, by the pooling that it was trained with."""
        scored, settings = bool(_score_column(spec)), spec.task.embedding or EmbeddingSettings()
        what = "A model that gives texts vectors to " + ("tell how alike they are" if scored else "search by")
        usage = _USAGE.format(vectors=_POOLINGS[settings.pooling])
        return CardText(what, _LIMITS_OF_SCORES if scored else _LIMITS, "AutoModel", usage, _ELSEWHERE)


def _parts(spec: FineTuneJobSpec) -> tuple[str, ...]:
    named = TASKS[Embedding.name].parts
    return tuple(part for part in named if getattr(spec.dataset.columns, part) is not None)


def _score_column(spec: FineTuneJobSpec) -> list[Column]:
    return [Column.of(spec, scored_pairs.SCORE)] if spec.dataset.columns.score is not None else []


def pooled(states: "torch.Tensor", mask: "torch.Tensor", pooling: str) -> "torch.Tensor":
    """The vectors of length 1, in 32-bit numbers, [sequences, hidden], of the tokens' [sequences, length, hidden]."""
    from torch.nn.functional import normalize

    states, weights = states.float(), mask[..., None].float()
    vectors = states[:, 0] if pooling == "CLS" else (states * weights).sum(dim=1) / weights.sum(dim=1)
    return normalize(vectors, dim=-1)


def contrastive_losses(vectors: "torch.Tensor", texts: "torch.Tensor", temperature: float) -> "torch.Tensor":
    """The cross-entropy of each anchor's own positive among all positives and negatives, in nats, [rows].

    `vectors` [rows, parts, hidden] of length 1: anchors, positives and, where there are any, negatives; `texts` [rows,
    parts] says which are the same text. What is as right as the row's own positive is no rival of it.
    """
    import torch
    from torch.nn.functional import cross_entropy

    rows = len(vectors)
    others = texts[:, 1:].T.reshape(-1)
    scores = vectors[:, 0] @ vectors[:, 1:].transpose(0, 1).reshape(-1, vectors.shape[-1]).T / temperature
    as_right = others[None, :] == texts[:, 1, None]
    as_right[:, :rows] |= texts[:, 0, None] == texts[None, :, 0]
    as_right[:, :rows] &= ~torch.eye(rows, dtype=torch.bool, device=texts.device)
    own = torch.arange(rows, device=texts.device)
    losses = cross_entropy(scores.masked_fill(as_right, -torch.inf), own, reduction="none")
    return losses.masked_fill(texts[:, 0] == IGNORED, 0.0)


def _mean_loss(vectors: NDArray[np.float64], texts: NDArray[np.int64], space: VectorSpace) -> float:
    import torch

    batches = np.array_split(np.arange(len(texts)), max(1, ceil(len(texts) / COMPARED)))
    every, numbers = torch.from_numpy(vectors), torch.from_numpy(texts)
    losses = [contrastive_losses(every[rows], numbers[rows], space.temperature) for rows in batches]
    return float(torch.cat(losses).mean())


_LIMITS = """\
The model gives texts like those in its training data vectors, whose cosine says how well two texts belong together. The
cosine is no probability: only the order of several texts by it means something, and a text that belongs to none of them
has a nearest one too."""
_LIMITS_OF_SCORES = """\
The model gives texts like those in its training data vectors, whose cosine estimates the score of a pair. Of texts of
another kind, or of scores that mean something else there, it says nothing."""
_POOLINGS = {
    "Mean": 'mask = inputs["attention_mask"][..., None]\nvectors = (states * mask).sum(1) / mask.sum(1)',
    "CLS": "vectors = states[:, 0]",
}
_USAGE = """
import torch

texts = ["A text to search for.", "A text to be found."]
inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    states = model(**inputs).last_hidden_state
{vectors}
print(torch.nn.functional.cosine_similarity(vectors[0], vectors[1], dim=0).item())
"""
_ELSEWHERE = """
# The same with sentence-transformers:
# from sentence_transformers import SentenceTransformer
# vectors = SentenceTransformer(folder).encode(texts)
"""
