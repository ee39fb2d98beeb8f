"""The token that ends an answer: which one a chat template writes there, and what helps where it writes none.

A model stops where it writes a token that its generation configuration names. Training must have taught it to write
that token, so the end belongs to the target of every answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from kubetune_trainer.errors import invalid_model

_SHOWN = 40


@dataclass(frozen=True)
class Ending:
    """What stands behind a completion."""

    after: str
    """The format's own text; it holds the token where `appended` is False."""
    token: int
    closing: str = ""
    """The same up to the token, which ends it; nothing where the template does not write the token."""
    appended: bool = False
    """Whether the token follows the text, since the template does not write it."""
    note: str | None = None
    """What the author of the job should know, in a sentence."""


def own_ending(tokenizer: Any) -> int:
    """The token that ends a text; RunError (INVALID_MODEL) without one."""
    if tokenizer.eos_token_id is None:
        raise invalid_model(
            "the model's tokenizer has no end-of-sequence token (eos_token), so a completion could never end; name one"
            " in its tokenizer_config.json, or choose a model made for generation"
        )
    return tokenizer.eos_token_id  # type: ignore[no-any-return]


def template_ending(tokenizer: Any, user_turn: str, opening: str, after: str, between: str) -> Ending:
    """The end of an answer by a chat template.

    It begins a user's turn with `user_turn`, writes `opening` in front of an answer, `after` behind one that is the
    last, and `between` an answer and another prompt.
    """
    special, marked = (tokens - set(_encoded(tokenizer, opening).ids) for tokens in _kinds(tokenizer))
    for control in (special, marked):
        if (found := _first(tokenizer, after, control)) is not None:
            return Ending(after, found[0], after[: found[1]])
        if (found := _first(tokenizer, between, control, but_for_the_end_of=user_turn)) is not None:
            token, end = found
            note = _BETWEEN_TURNS.format(token=_named(tokenizer, token))
            return Ending(between[:end], token, between[:end], note=note)
    token = own_ending(tokenizer)
    if token not in special:
        raise invalid_model(
            f"the model's chat template writes {_named(tokenizer, token)} before an answer and no other control token"
            " behind it, so a model that stops there would say nothing; let the template end an answer with a token of"
            " its own"
        )
    return Ending(after, token, appended=True, note=_NO_END.format(token=_named(tokenizer, token)))


def stop_tokens(tokenizer: Any, token: int, opening: str, pretrained: Sequence[int]) -> list[int]:
    """Where the published model stops: at `token`, and where the pretrained one did.

    Not at what it writes before an answer, nor at what is no control token but a word of its answers.
    """
    special, marked = _kinds(tokenizer)
    kept = (special | marked) - set(_encoded(tokenizer, opening).ids)
    return list(dict.fromkeys([*(stop for stop in pretrained if stop in kept), token]))


def control_tokens_of(tokenizer: Any, text: str) -> list[str]:
    """How the control tokens of a text are spelled."""
    special, alike = _kinds(tokenizer)
    return [
        tokenizer.convert_ids_to_tokens(token) for token in _encoded(tokenizer, text).ids if token in special | alike
    ]


def _kinds(tokenizer: Any) -> tuple[frozenset[int], frozenset[int]]:
    """The tokens that may end an answer: those that are marked as special, and those that only look like it.

    Copied configurations often lack the mark; but vocabularies add runs of spaces the same way.
    """
    added = tokenizer.added_tokens_decoder.items()
    special = {token for token, entry in added if entry.special} | set(tokenizer.all_special_ids)
    alike = {token for token, entry in added if entry.content.startswith("<") and entry.content.endswith(">")}
    others = {tokenizer.unk_token_id, tokenizer.bos_token_id} - {tokenizer.eos_token_id}
    return frozenset(special - others), frozenset(alike - special)


def _first(
    tokenizer: Any, text: str, control: frozenset[int], *, but_for_the_end_of: str = ""
) -> tuple[int, int] | None:
    """The first control token of a text, and where it ends; of what the text shares with the end of another, none."""
    encoding = _encoded(tokenizer, text)
    shared = takewhile(
        lambda pair: pair[0] == pair[1],
        zip(reversed(encoding.ids), reversed(_encoded(tokenizer, but_for_the_end_of).ids), strict=False),
    )
    own = len(encoding.ids) - sum(1 for _ in shared)
    for token, (_, end) in zip(encoding.ids[:own], encoding.offsets, strict=False):
        if token in control:
            return token, end
    return None


def _encoded(tokenizer: Any, text: str) -> Any:
    (encoding,) = tokenizer([text], add_special_tokens=False).encodings
    return encoding


def _named(tokenizer: Any, token: int) -> str:
    return ascii(tokenizer.convert_ids_to_tokens(token)[:_SHOWN])


_BETWEEN_TURNS = (
    "the model's chat template writes {token} behind an answer only where another turn follows; every answer is trained"
    " to end with it, and the published model stops there"
)
_NO_END = (
    "the model's chat template ends an answer with no token of its own; every answer is trained to end with the"
    " tokenizer's eos_token {token}, and the published model stops there"
)
