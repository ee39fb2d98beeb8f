"""Rows of the data for people to look at, as the model sees them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """Consecutive tokens of a row, as text."""

    text: str
    counted: bool
    """Whether the loss counts them."""


@dataclass(frozen=True)
class Sample:
    """A row as the model sees it, with its special tokens; long pieces without their middle."""

    pieces: tuple[Piece, ...]
    tokens: int
    """Of the whole row."""
    answer: str | None = None
    """What the loss counts where that is none of the tokens: the label."""
