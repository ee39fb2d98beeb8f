"""Rows of the data for people to look at, as the model sees them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """Consecutive tokens of a row, as text."""

    text: str
    counted: bool
    """Whether the loss counts them."""
    begins: str = ""
    """The name of the sequence that begins with them, where a row is several."""


@dataclass(frozen=True)
class Sample:
    """A row as the model sees it, with its special tokens; long pieces without their middle."""

    pieces: tuple[Piece, ...]
    tokens: int
    """Of the whole row."""
    answer: str | None = None
    """What the loss counts where that is none of the tokens: the label."""


@dataclass(frozen=True)
class WorstRow:
    """One of the rows of a split that a model does worst on."""

    row: int
    """Its number in the split."""
    loss: float
    """Per target."""
    answer: str | None
    """What the model answered, where its task can say that."""


@dataclass(frozen=True)
class ShownError:
    """Such a row, to be looked at."""

    sample: Sample
    where: str
    """Its place in the data."""
    loss: float
    answer: str | None


@dataclass(frozen=True)
class WrittenAnswer:
    """What a model wrote to a row of a split."""

    row: int
    """Its number in the split."""
    question: str
    expected: str
    written: str
