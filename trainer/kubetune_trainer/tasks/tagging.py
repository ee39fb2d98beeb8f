"""TokenClassification: a new linear layer gives each word of a text its tag; tags beside each other name entities."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kubetune_api import text
from kubetune_api.job import FineTuneJobSpec
from kubetune_api.metrics import LOSS
from kubetune_trainer.data import tags
from kubetune_trainer.data.encode_words import encode_words
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.split import folded
from kubetune_trainer.data.tagged import (
    SPANS,
    SPANS_OF_A_CELL,
    TAGS,
    TAGS_OF_A_CELL,
    TEXT,
    TEXT_WITH_SPANS,
    TOKENS,
    WORDS_OF_A_CELL,
    items,
    spans_of,
    tagged,
    tags_of,
    tokens_of,
    types_in,
)
from kubetune_trainer.data.tokens import Encoded
from kubetune_trainer.data.values import text_of
from kubetune_trainer.records import DataReport, EvaluationRecord
from kubetune_trainer.tasks import heads
from kubetune_trainer.tasks.base import IGNORED, CardText, Compared, Forward, Losses, Measured, MicroBatch, Tally
from kubetune_trainer.tasks.choice_losses import PLAIN, ChoiceLoss, choice_losses
from kubetune_trainer.tasks.entities import EntityDetails, Scheme, entity_counts, entity_details, entity_metrics
from kubetune_trainer.tasks.targets import in_lines, marked_per_row

ACCURACY = "accuracy"
_LONGEST_ANSWER = 200


@dataclass(frozen=True)
class Tags:
    """The tags, in the order of the head's outputs."""

    labels: tuple[str, ...]
    loss: ChoiceLoss = PLAIN

    @cached_property
    def scheme(self) -> Scheme:
        """What they mean."""
        return Scheme(self.labels)


@dataclass(frozen=True)
class TagTargets:
    """A tag for the first token of each word."""

    tags: NDArray[np.int32]
    """[tokens]: the number of the tag, `IGNORED` where none is learned."""

    def per_row(self, split: EncodedSplit) -> NDArray[np.int64]:
        """See `Targets`."""
        return marked_per_row(self.tags != IGNORED, split.offsets)

    def padded(self, split: EncodedSplit, rows: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
        """[rows, longest]: the tags, in the places of their tokens."""
        return in_lines([self._of(split, int(row)) for row in rows], longest)

    def learned(self, split: EncodedSplit, row: int, labels: Sequence[str]) -> str:
        """The tags of the words."""
        found = self._of(split, row)
        return _in_words([labels[tag] for tag in found[found != IGNORED]])

    def _of(self, split: EncodedSplit, row: int) -> NDArray[np.int32]:
        return self.tags[split.offsets[row] : split.offsets[row + 1]]


class Tagging:
    """See the module, and `TrainingTask` for each method."""

    name = "TokenClassification"
    new_head = True
    generation = None
    details = EntityDetails

    def fields(self, spec: FineTuneJobSpec) -> tuple[Field, ...]:
        """Words and a tag for each, or a text and the spans of its entities."""
        choices = None if spec.task.labels is None else tuple(spec.task.labels)
        if spec.dataset.columns.spans is not None:
            spans = Column.of(spec, SPANS)
            return (
                Field(TEXT, Column.of(spec, TEXT), text_of, measured=True, texts=TEXT_WITH_SPANS),
                Field(SPANS, spans, spans_of, texts=SPANS_OF_A_CELL, choices=choices, labels=types_in),
            )
        read = partial(tags_of, names=choices)
        return (
            Field(TOKENS, Column.of(spec, TOKENS), tokens_of, measured=True, texts=WORDS_OF_A_CELL),
            Field(TAGS, Column.of(spec, TAGS), read, texts=TAGS_OF_A_CELL, choices=choices, labels=items),
        )

    def space(
        self, spec: FineTuneJobSpec, sources: Mapping[str, Sequence[Row]], classes: Mapping[str, Sequence[str]]
    ) -> Tags:
        """The tags that the manifest gives or the training data shows, which every source must keep to."""
        given, spans = spec.task.labels, spec.dataset.columns.spans is not None
        if given is not None and spans:
            given = list(tags.tags_of_types(given))
        counts = Counter(tag for row in sources["train"] for tag in tagged(row).tags)
        column = Column.of(spec, SPANS if spans else TAGS)
        names = tags.tag_set(counts, given, column, classes.get(TAGS, ()))
        for source, rows in sources.items():
            tags.refuse_unknown(rows, names, source, given=given is not None)
        return Tags(names, ChoiceLoss(spec.training.label_smoothing))

    def group(self, row: Row) -> str:
        """The text."""
        return folded(tagged(row).text)

    def stratum(self, row: Row) -> None:
        """A row has many tags."""

    def refuse_untaught(self, spec: FineTuneJobSpec, space: Tags, training: Sequence[Row]) -> None:
        """A tag without a word is noted, not refused: a model may do without a rare one."""

    def data_notes(self, sources: Mapping[str, Sequence[Row]], tokenizer: Any) -> Iterator[str]:
        """What the tags or the spans are not quite."""
        found = [tagged(row) for rows in sources.values() for row in rows]
        if odd := tags.odd_beginnings(found):
            yield _ODD.format(text.plural(odd, "entity", "entities"))
        if widened := sum(one.widened for one in found):
            yield _WIDENED.format(text.plural(widened, "span"))

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int, space: Tags) -> Encoded:
        """As the text will be given to the model; rows without any word are not kept."""
        tokens = encode_words(rows, tokenizer, max_length)
        index = {name: number for number, name in enumerate(space.labels)}
        kept = [tagged(row) for row in compress(rows, tokens.kept)]
        targets = np.full(len(tokens.tokens), IGNORED, dtype=np.int32)
        for row, one in enumerate(kept):
            start, end = tokens.offsets[row], tokens.offsets[row + 1]
            begins = tokens.begins[start:end]
            numbers = np.array([index[tag] for tag in one.tags], dtype=np.int32)
            targets[start:end][begins >= 0] = numbers[begins[begins >= 0]]
        words = sum(len(one.words) for one in kept)
        notes = _notes(targets, words, space)
        counted = Counter(tag for one in kept for tag in set(one.tags))
        return tokens.with_targets(TagTargets(targets), tuple((tag, counted[tag]) for tag in space.labels), notes)

    def model_class(self) -> Any:
        """With a linear layer over each token."""
        from transformers import AutoModelForTokenClassification

        return AutoModelForTokenClassification

    def configure(self, config: Any, space: Tags) -> None:
        """An output for each tag."""
        heads.name_outputs(config, space.labels)

    def fits_head(self, config: Any, space: Tags) -> bool:
        """A tagger with these very tags is trained further."""
        return heads.has_head(config, "ForTokenClassification") and heads.names_outputs_so(config, space.labels)

    def losses(self, forward: Forward, batch: MicroBatch, space: Tags) -> Losses:
        """The cross-entropy of each word's tag."""
        logits = forward(**batch.inputs).logits
        trained, plain = choice_losses(logits.float().transpose(1, 2), batch.targets, space.loss)
        return Losses(trained.sum(dim=1), logits.argmax(dim=-1), plain.sum(dim=1))

    def tally(self, losses: Losses, batch: MicroBatch, space: Tags) -> Tally:
        """The loss, the right tags, the words of each tag, and entities: those there, those found, and those both."""
        import torch

        counted = batch.targets != IGNORED
        true, predicted = batch.targets[counted], losses.outputs[counted]
        return {
            "loss": losses.judged.double().sum(),
            "right": (true == predicted).sum(),
            "words": torch.bincount(true, minlength=len(space.labels)),
            **entity_counts(true, predicted, counted.nonzero()[:, 0], space.scheme),
        }

    def answers(self, losses: Losses, batch: MicroBatch, space: Tags) -> list[str]:
        """The tags of the words."""
        return [_in_words(found) for found, _ in self.compared(losses, batch, space)]

    def compared(self, losses: Losses, batch: MicroBatch, space: Tags) -> list[Compared]:
        """The tags of the words that the model has seen."""
        rows = zip(losses.outputs.tolist(), batch.targets.tolist(), strict=True)
        return [
            (
                [space.labels[said] for said, true in zip(found, targets, strict=False) if true != IGNORED],
                [space.labels[true] for true in targets if true != IGNORED],
            )
            for found, targets in rows
        ]

    def made_up(self, space: Tags) -> list[Compared]:
        """A word with each tag, in one row."""
        return [([*space.labels], [*space.labels])]

    def measure(self, tally: dict[str, NDArray[np.float64]], space: Tags) -> Measured:
        """The mean loss and the share of right tags, of words; precision, recall and F1, of entities."""
        words = tally["words"].sum()
        precision, recall, f1 = entity_metrics(tally)
        metrics = {
            LOSS: float(tally["loss"] / words),
            ACCURACY: float(tally["right"] / words),
            "entity_precision": precision,
            "entity_recall": recall,
            "entity_f1": f1,
        }
        return Measured(metrics, entity_details(tally, space.labels, space.scheme))

    def notes(self, metric: str, evaluation: EvaluationRecord, data: DataReport) -> list[str]:
        """How many entities that is of, and what one tag for every word would reach."""
        if not isinstance(evaluation.details, EntityDetails):
            return []
        if metric == ACCURACY:
            tag, share = evaluation.details.most_frequent
            return [f"{share:.3f} by giving every word the tag “{text.elide(text.printable(tag), 20)}”"]
        entities = sum(one.rows for one in evaluation.details.per_type)
        return [f"of {text.plural(entities, 'entity', 'entities')}"] if metric == "entity_recall" else []

    def findings(self, evaluation: EvaluationRecord | None, data: DataReport) -> Iterator[str]:
        """Types of which nothing was found."""
        details = evaluation.details if evaluation else None
        if evaluation is None or not isinstance(details, EntityDetails):
            return
        missed = [one for one in details.per_type if one.rows and not one.recall]
        if missed:
            shown = ", ".join(f"“{text.elide(text.printable(one.label), 24)}” ({one.rows:,})" for one in missed[:5])
            more = f" and {len(missed) - 5:,} types more" if len(missed) > 5 else ""
            yield f"The model found no entity of {shown}{more} on the {evaluation.split} split, though it has some."

    def card(self, spec: FineTuneJobSpec, data: DataReport) -> CardText:
        """What the answers mean, and how to get them."""
        what = f"A tagger of words with {text.plural(len(data.labels), 'tag')}"
        return CardText(what, _LIMITS, _CLASS, _USAGE)


def _in_words(found: Sequence[str]) -> str:
    return text.elide(" ".join(found), _LONGEST_ANSWER)


def _notes(targets: NDArray[np.int32], words: int, space: Tags) -> tuple[str, ...]:
    counts = np.bincount(targets[targets != IGNORED], minlength=len(space.labels))
    lost, absent = (
        words - int(counts.sum()),
        [tag for tag, count in zip(space.labels, counts, strict=True) if not count],
    )
    notes = []
    if lost:
        notes.append(_LOST.format(text.plural(lost, "word"), words))
    if absent:
        shown = ", ".join(text.elide(text.printable(tag), 24) for tag in absent[:5])
        more = f" and {len(absent) - 5:,} more" if len(absent) > 5 else ""
        notes.append(f"no word that is trained on has the tag {shown}{more}: the model will hardly give it")
    return tuple(notes)


_ODD = (
    "{} begin with I- and not with B-, as in IOB1: they are learned as they are written, and counted as entities of"
    " their own, as seqeval does"
)
_WIDENED = "{} begin or end within a word: the whole word has the tag"
_LOST = (
    "{} of {:,} of the training split are not learned: they are behind spec.task.maxLength, or the tokenizer has no"
    " token for them"
)
_CLASS = "AutoModelForTokenClassification"
_LIMITS = """\
The model tags the words of texts like those in its training data. What it was not taught to find it does not find, and
it may find entities in any text. The tag of a word is that of its first token."""
_USAGE = """
from transformers import pipeline

tagger = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first")
for found in tagger("A text with names in it."):
    print(found["entity_group"], found["word"], round(float(found["score"]), 4))
"""
