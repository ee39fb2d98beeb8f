"""CausalLM: a language model answers a prompt, or each turn of a conversation, or goes on with a text.

Each token of an answer is a target, and each of a text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data.conversation import FIELD, TEXTS, conversation_of, question_of
from kubetune_trainer.data.encode_conversations import encode_conversations
from kubetune_trainer.data.encode_documents import FIELD as DOCUMENT
from kubetune_trainer.data.encode_documents import encode_documents
from kubetune_trainer.data.endings import own_ending, stop_tokens
from kubetune_trainer.data.markup import notes_of_markup
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.prompt_format import PromptFormat
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.split import folded
from kubetune_trainer.data.tokens import Encoded
from kubetune_trainer.data.values import text_of
from kubetune_trainer.records import Answer, DataReport, EvaluationRecord
from kubetune_trainer.tasks.base import CardText, Forward, Losses, Measured, MicroBatch, Tally
from kubetune_trainer.tasks.choice_losses import PLAIN, ChoiceLoss
from kubetune_trainer.tasks.targets import in_lines, learned_ids, marked_per_row
from kubetune_trainer.tasks.token_losses import measured_tokens, token_losses, token_tally

_ANSWERS, _LOOKED_AT, _LONGEST_PROMPT = 3, 1_000, 512
"""How many answers the published model is asked for, of how many, and the tokens of the longest prompt: there is no GPU
where it is asked."""


@dataclass(frozen=True)
class Vocabulary:
    """Whatever the model's tokens can spell."""

    labels: tuple[str, ...] = ()
    loss: ChoiceLoss = PLAIN
    of_documents: bool = False
    """Whether it goes on with texts, and answers nothing."""


@dataclass(frozen=True)
class TokenTargets:
    """Some of the tokens of each row."""

    marks: NDArray[np.bool_]
    """[tokens]: which of them count for the loss; the first of a row never does."""
    answering: bool = True
    """Whether they answer what stands before them."""

    def per_row(self, split: EncodedSplit) -> NDArray[np.int64]:
        """See `Targets`."""
        return marked_per_row(self.marks, split.offsets)

    def padded(self, split: EncodedSplit, rows: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
        """[rows, longest]: the token ids that count, in their own places."""
        return in_lines(learned_ids(self.marks, split.tokens, split.offsets, rows), longest)

    def learned(self, split: EncodedSplit, row: int, labels: Sequence[str]) -> NDArray[np.bool_]:
        """Those that count."""
        return self.marks[split.offsets[row] : split.offsets[row + 1]]

    def last_answer(self, split: EncodedSplit, row: int) -> tuple[int, int]:
        """From which token of the row to which its last answer is."""
        edges = np.flatnonzero(np.diff(self.learned(split, row, ()), prepend=False, append=False))
        return int(edges[-2]), int(edges[-1])


class Completions:
    """How the model generates; see `Generation`."""

    def stop_tokens(self, tokenizer: Any, pretrained: Sequence[int], space: Any) -> Sequence[int]:
        """Behind an answer, or a text, as training teaches it."""
        if isinstance(space, Vocabulary) and space.of_documents:
            return stop_tokens(tokenizer, own_ending(tokenizer), "", pretrained)
        form = PromptFormat.of(tokenizer)
        return stop_tokens(tokenizer, form.end, form.opening, pretrained)

    def answers(self, split: EncodedSplit, tokenizer: Any) -> Sequence[Answer]:
        """The last of the rows that have the fewest tokens to learn, if it was not cut and its prompt is not long; a
        text that ends somewhere answers nothing."""
        assert isinstance(split.targets, TokenTargets)
        if not split.targets.answering:
            return ()
        end, found = PromptFormat.of(tokenizer).end, []
        for row in np.argsort(split.targets.per_row(split), kind="stable")[:_LOOKED_AT]:
            asked = self.asked(split, row)
            if len(asked.prompt) <= _LONGEST_PROMPT and end in asked.tokens:
                found.append(replace(asked, tokens=asked.tokens[: asked.tokens.index(end) + 1]))
        return found[:_ANSWERS]

    def asked(self, split: EncodedSplit, row: int) -> Answer:
        """See `Generation`."""
        assert isinstance(split.targets, TokenTargets)
        first, last = split.targets.last_answer(split, row)
        tokens = split.tokens[split.offsets[row] : split.offsets[row + 1]].tolist()
        return Answer(tokens[:first], tokens[first:last])


class CausalLanguageModel:
    """See the module, and `TrainingTask` for each method."""

    name = "CausalLM"
    new_head = False
    generation = Completions()

    def fields(self, spec: FineTuneJobSpec) -> tuple[Field, ...]:
        """A text, a conversation, or a prompt and its completion."""
        if spec.dataset.columns.text is not None:
            return (Field(DOCUMENT, Column.of(spec, DOCUMENT), text_of, measured=True),)
        if spec.dataset.columns.messages is not None:
            return (Field(FIELD, Column.of(spec, FIELD), conversation_of, measured=True, texts=TEXTS),)
        prompt, completion = Column.of(spec, "prompt"), Column.of(spec, "completion")
        return (Field("prompt", prompt, text_of), Field("completion", completion, text_of, measured=True))

    def space(
        self, spec: FineTuneJobSpec, sources: Mapping[str, Sequence[Row]], classes: Mapping[str, Sequence[str]]
    ) -> Vocabulary:
        """Any text can be learned."""
        loss = ChoiceLoss(spec.training.label_smoothing)
        return Vocabulary(loss=loss, of_documents=spec.dataset.columns.text is not None)

    def group(self, row: Row) -> str:
        """The text, or what stands before the first answer: no answer is tested on a question that training has
        seen."""
        return folded(*([row[DOCUMENT]] if DOCUMENT in row.names else question_of(row)))

    def stratum(self, row: Row) -> None:
        """There is nothing to share out."""

    def refuse_untaught(self, spec: FineTuneJobSpec, space: Vocabulary, training: Sequence[Row]) -> None:
        """Whatever is there teaches."""

    def data_notes(self, sources: Mapping[str, Sequence[Row]], tokenizer: Any) -> Iterator[str]:
        """What kubetune adds to the model's chat template, and what the rows have of one already."""
        answers = DOCUMENT not in sources["train"][0].names
        if answers and (note := PromptFormat.of(tokenizer).note):
            yield note
        yield from notes_of_markup(sources, tokenizer)

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int, space: Vocabulary) -> Encoded:
        """Texts as they are, in one or several sequences; answers by the model's chat template, and no row of which
        none is left."""
        if space.of_documents:
            return _documents(rows, tokenizer, max_length)
        tokens = encode_conversations(rows, tokenizer, max_length)
        notes = (_ONLY_READ.format(tokens.only_read, tokens.answers),) if tokens.only_read else ()
        return tokens.with_targets(TokenTargets(tokens.learned), notes=notes)

    def model_class(self) -> Any:
        """With the pretrained output layer."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    def configure(self, config: Any, space: Vocabulary) -> None:
        """Nothing of the model changes."""

    def fits_head(self, config: Any, space: Vocabulary) -> bool:
        """The output layer is always trained further."""
        return True

    def losses(self, forward: Forward, batch: MicroBatch, space: Vocabulary) -> Losses:
        """The cross-entropy of the tokens that are learned."""
        # What is said at one position is the token at the next.
        trained, plain = token_losses(forward, batch.inputs, batch.targets[:, 1:], space.loss)
        return Losses(trained, trained.new_empty(len(trained), 0), plain)

    def tally(self, losses: Losses, batch: MicroBatch, space: Vocabulary) -> Tally:
        """The loss and the number of tokens that it is of."""
        return token_tally(losses, batch)

    def measure(self, tally: dict[str, NDArray[np.float64]], space: Vocabulary) -> Measured:
        """The mean loss per token, in nats, and its exponential."""
        return measured_tokens(tally)

    def notes(self, metric: str, evaluation: EvaluationRecord, data: DataReport) -> list[str]:
        """The metrics speak for themselves."""
        return []

    def findings(self, evaluation: EvaluationRecord | None, data: DataReport) -> Iterator[str]:
        """None of its own."""
        return iter(())

    def card(self, spec: FineTuneJobSpec, data: DataReport) -> CardText:
        """How to ask the model."""
        if DOCUMENT in data.fields:
            return CardText("A language model that goes on with a text", _LIMITS_OF_TEXTS, _CLASS, _USAGE_OF_TEXTS)
        return CardText("A language model that continues a prompt with its completion", _LIMITS, _CLASS, _USAGE)


def _documents(rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
    found = encode_documents(rows, tokenizer, max_length)
    divided = _DIVIDED.format(found.divided, len(rows), max_length, len(found.sources))
    targets = TokenTargets(found.tokens.learned, answering=False)
    return found.tokens.with_targets(targets, notes=(divided,) * bool(found.divided), sources=found.sources)


_ONLY_READ = (
    "{:,} of {:,} answers in the training data are read and not learned: the model's chat template does not write an"
    " answer that other turns follow as it does when it asks for it (it may drop reasoning, move the system message, or"
    " not end the answer); to learn them as well, write a row for each, which ends with it"
)
_DIVIDED = (
    "{:,} of {:,} texts of the training data are longer than {:,} tokens (spec.task.maxLength, the model's own limit"
    " considered) and are learned as several sequences, whose number, {:,}, is that of the rows of the training split"
)
_CLASS = "AutoModelForCausalLM"
_LIMITS = """\
The model answers prompts like those in its training data. Nothing was measured beyond the loss on held-out completions:
its answers may be wrong, and it may repeat anything in the training data, including private content."""
_LIMITS_OF_TEXTS = """\
The model goes on with texts like those in its training data; it was not taught to answer. Nothing was measured beyond
the loss on held-out texts: what it writes may be wrong, and it may repeat anything in the training data, including
private content."""
_USAGE_OF_TEXTS = """
inputs = tokenizer("The beginning of a text", return_tensors="pt")
written = model.generate(**inputs, max_new_tokens=64, do_sample=False)
print(tokenizer.decode(written[0], skip_special_tokens=True))
"""
_USAGE = """
prompt = "A prompt."
if tokenizer.chat_template:
    messages = [{"role": "user", "content": prompt}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
inputs = tokenizer(prompt, add_special_tokens=not tokenizer.chat_template, return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=64, do_sample=False)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""
