"""Rows that hold a conversation, as the trainer reads them."""

from collections.abc import Mapping, Sequence
from typing import Any

from kubetune_trainer.data.conversation import FIELD, conversation_of
from kubetune_trainer.data.rows import Column, Row

COLUMN = Column("turns", "spec.dataset.columns.messages")
WHERE = "s3://data/a.jsonl, line 3"


def conversation(turns: Sequence[tuple[str, str] | Mapping[str, Any]]) -> Row:
    """A row of these turns: (role, content), or a whole message."""
    messages = [{"role": turn[0], "content": turn[1]} if isinstance(turn, tuple) else dict(turn) for turn in turns]
    return Row((FIELD,), (conversation_of(messages, COLUMN, WHERE),), "s3://data/a.jsonl", 3)


def chat(*turns: tuple[str, str] | Mapping[str, Any]) -> Row:
    """The same, turn by turn."""
    return conversation(turns)
