"""Rows that already are in chat markup: it would be trained as letters, inside the model's own chat template."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubetune_api.text import plural
from kubetune_trainer.data.conversation import texts_of
from kubetune_trainer.data.encode_documents import FIELD as DOCUMENT
from kubetune_trainer.data.endings import control_tokens_of
from kubetune_trainer.data.prompt_format import PromptFormat
from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.values import quoted

_KNOWN = (
    *("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<|system|>", "<|user|>", "<|assistant|>", "<｜User｜>", "<｜Assistant｜>"),
)
"""What begins and ends turns in the field's templates, whichever of them the model has."""

_BARE_TEXTS = (
    "give the bare question in spec.dataset.columns.prompt and the bare answer in spec.dataset.columns.completion"
)
_BARE_TURNS = (
    "give each turn as a message of its own in spec.dataset.columns.messages, and its bare text as the content"
)


def notes_of_markup(sources: Mapping[str, Sequence[Row]], tokenizer: Any) -> Iterator[str]:
    """How many rows hold markup of turns in their texts."""
    rows = [row for source in sources.values() for row in source]
    form = None if DOCUMENT in rows[0].names else PromptFormat.of(tokenizer)
    templated = form is not None and form.templated
    own = control_tokens_of(tokenizer, form.before + form.middle + form.after) if form and templated else []
    # HTML has </s>, too.
    marks = {*_KNOWN, *(token for token in own if token != tokenizer.eos_token)}
    spelled = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))))
    found = [(row, match[0]) for row in rows if (match := spelled.search("\n".join(_texts_of(row))))]
    if not found:
        return
    first, mark = found[0]
    around = "inside the model's own chat template" if templated else "not as control tokens"
    number = f"{plural(len(found), 'row')} of {len(rows):,} {'is' if len(found) == 1 else 'are'}"
    yield (
        f"{first.where}: the text already is in chat markup ({quoted(mark)}), as {number}; it is trained as plain"
        f" letters, {around}; {_BARE_TEXTS if 'prompt' in first.names else _BARE_TURNS}"
    )


def _texts_of(row: Row) -> Sequence[str]:
    return (row[DOCUMENT],) if DOCUMENT in row.names else texts_of(row)
