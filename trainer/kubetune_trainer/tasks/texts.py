"""What tasks have in common whose rows are a text or a pair of texts, and whose head answers each with a line of
numbers."""

from typing import Any

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.split import folded
from kubetune_trainer.data.values import text_of
from kubetune_trainer.tasks import heads

MODEL_CLASS = "AutoModelForSequenceClassification"
"""transformers' class of a model whose head reads a whole text."""


def text_fields(spec: FineTuneJobSpec) -> tuple[Field, ...]:
    """A text, and for pairs a second one."""
    pair = spec.dataset.columns.text_pair is not None
    return (
        Field("text", Column.of(spec, "text"), text_of, measured=True),
        *[Field("text_pair", Column.of(spec, "text_pair"), text_of) for _ in range(pair)],
    )


def same_texts(row: Row) -> str:
    """The text, with its pair, as the key of rows that must not be torn apart."""
    return folded(*(row[name] for name in ("text", "text_pair") if name in row.names))


def model_class() -> Any:
    """With a head for the whole text."""
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification


def has_head(config: Any) -> bool:
    """Whether the pretrained model has such a head already."""
    return heads.has_head(config, "ForSequenceClassification")
