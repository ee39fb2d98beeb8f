"""What a run read, in counts: of a row, only its label is in a status; all is bounded, since a tenant reports it."""

from typing import Annotated

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel

MOST_SPLITS, MOST_STEPS, MOST_LABELS, LONGEST_NAME = 8, 32, 32, 64
"""Items of the lists, and characters of a name."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]
"""The schema leaves names open: a newer trainer may know more of them than the installed CRD."""
Count = Annotated[int, Field(ge=0, le=10**15)]


class SplitCounts(ApiModel):
    """One split, after the cleaning."""

    name: Name
    """`train`, `validation` or `test`."""
    rows: Count
    """Its rows."""
    tokens: Count
    """All tokens of its rows, padding not counted."""
    truncated: Count = 0
    """The rows that were cut at the greatest length."""


class StepCounts(ApiModel):
    """One step of the cleaning."""

    name: Name
    """The field of `dataset.cleaning`, or one of the steps that the page on data lists."""
    rows: Count
    """The rows that it dropped, or changed."""
    dropped: bool = True
    """Whether it drops rows, and does not only change them."""


class LabelCounts(ApiModel):
    """One label."""

    name: Name
    """The label; of a long one, the beginning."""
    rows: Count
    """Its rows, in all splits."""


class DataCounts(ApiModel):
    """What the run read, and what became of it."""

    rows_read: Count
    """The rows of all files."""
    splits: Annotated[list[SplitCounts], Field(max_length=MOST_SPLITS)] = Field([])
    """The rows that are left, by split."""
    cleaning: Annotated[list[StepCounts], Field(max_length=MOST_STEPS)] = Field([])
    """The steps of the cleaning, in their order, with 0 where one found nothing."""
    label_count: Count = 0
    """How many labels there are; 0 for a task without labels."""
    labels: Annotated[list[LabelCounts], Field(max_length=MOST_LABELS)] = Field([])
    """The labels, the most frequent first; of more than 32, the 16 most frequent and the 16 rarest."""
