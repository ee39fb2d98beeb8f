"""Encodes a text as what follows another one.

By itself a text gets what some tokenizers put before a first word (Metaspace: a space), and lacks the mark of what goes
on within a word (WordPiece: `##`). So it is encoded behind a letter whose own tokens are taken off again.
"""

from collections.abc import Callable, Iterator, Sequence

_LETTERS = ("x", "q", "Z", "7", ".")
"""If one grows together with the text to a longer token, another will not."""
_REMEMBERED = 64
"""Characters of what stands before that may matter."""

Encode = Callable[[str], list[int]]
"""From a text to its tokens, without any that the tokenizer adds at the ends of a text."""


def continued(parts: Sequence[str], encode: Encode, *, before: str = "") -> list[int]:
    """The tokens of the parts, none of them over a border between two; `before` is what stands before the first."""
    ids = []
    for part in parts:
        ids += _continuation(part, before, encode)
        before = (before + part)[-_REMEMBERED:]
    return ids


def _continuation(text: str, before: str, encode: Encode) -> list[int]:
    if not text or not before:
        return encode(text)
    for context in _contexts(before):
        leading, both = encode(context), encode(context + text)
        if both[: len(leading)] == leading:
            return both[len(leading) :]
    return encode(text)


def _contexts(before: str) -> Iterator[str]:
    """What stands in for `before`; with its outer spaces first, as some tokenizers fold them into the word behind."""
    word = before.rstrip()
    last, spaces = word[-1:], before[len(word) :]
    letters = (last, *_LETTERS) if last.isascii() and last else _LETTERS
    if spaces:
        yield from (f"{letter}{spaces}" for letter in letters[:2])
    yield from letters
