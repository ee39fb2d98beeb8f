"""The model's control tokens, and how a text that spells one is kept from becoming one.

`split_special_tokens` makes a tokenizer read `</s>` letter by letter. That is enough for most; but a vocabulary of
whole pieces (Unigram: T5, XLM-R, ALBERT) may hold `</s>` as a piece too, and only a changed spelling keeps it apart.
"""

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from typing import Any


class SpecialTokens:
    """The special tokens of one tokenizer."""

    def __init__(self, tokenizer: Any, *, also: Iterable[int] = ()) -> None:
        """`also` are tokens that count as special without the tokenizer's mark."""
        spelled = {token: added.content for token, added in tokenizer.added_tokens_decoder.items() if added.special}
        spelled |= dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        # What the vocabulary lacks becomes the unknown token: no control, unless it serves as one as well.
        if tokenizer.unk_token_id not in (tokenizer.bos_token_id, tokenizer.eos_token_id):
            spelled.pop(tokenizer.unk_token_id, None)
        spelled |= {token: tokenizer.convert_ids_to_tokens(token) for token in also}
        self._ids = frozenset(spelled)
        longest_first = sorted(spelled.values(), key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)", re.IGNORECASE)

    def count(self, ids: Iterable[int]) -> int:
        """How many of the tokens are special."""
        return sum(map(self._ids.__contains__, ids))

    def places(self, ids: Iterable[int]) -> list[int]:
        """Which of the tokens are special."""
        return [place for place, token in enumerate(ids) if token in self._ids]

    def defused(self, text: str) -> str:
        """The text with a space after the first character of whatever spells a special token."""
        return self._spelled.sub(lambda match: f"{match[0][:1]} {match[0][1:]}", unicodedata.normalize("NFKC", text))

    def cut(self, text: str) -> list[str]:
        """The same text in parts, cut after the first character of whatever spells a special token."""
        cuts = [0, *(match.start() + 1 for match in self._spelled.finditer(text)), len(text)]
        return [text[start:end] for start, end in pairwise(cuts)]
