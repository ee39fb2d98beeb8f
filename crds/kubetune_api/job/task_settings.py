"""Settings that one task has alone: a group of `spec.task` for each, named after its task."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Label, Rule, words
from kubetune_api.tables import OneOf, filled, listed

HUBER_DELTA = 1.0
"""Where the errors become large when the manifest does not say, as in torch."""


LanguageCode = Annotated[
    str,
    StringConstraints(min_length=2, max_length=16, pattern=r"^[A-Za-z]+([_-][A-Za-z0-9]+)*$"),
    Field(json_schema_extra=words("the code of a language, such as en_XX")),
]


class RegressionSettings(ApiModel):
    """How the model learns numbers."""

    loss: Literal["MSE", "MAE", "Huber"] = "MSE"
    """What is made small: the squared error (`MSE`, as transformers does), the absolute error (`MAE`), or the squared
    error of small errors and the absolute one of large errors (`Huber`). The last two follow outliers less."""
    huber_delta: Annotated[float | None, Field(gt=0, le=1000000)] = None
    """With `Huber`: the error, in the units of the values, from which on an error is a large one. Unset: 1."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.huberDelta) || self.loss == 'Huber'",
            message="huberDelta belongs to the loss Huber; remove it, or set loss to Huber",
            holds=lambda settings: settings.huber_delta is None or settings.loss == "Huber",
            field="huberDelta",
        ),
    )

    @property
    def delta(self) -> float:
        """The error from which on an error is a large one."""
        return HUBER_DELTA if self.huber_delta is None else self.huber_delta


LOSS_OF_SCORES = "CosineSimilarity"
"""The one of an embedding's losses that learns from pairs with a score."""
TEMPERATURE = 0.05
"""As in sentence-transformers, whose `scale` is its inverse."""


class EmbeddingSettings(ApiModel):
    """How texts become vectors, and what brings them together."""

    loss: Literal["MultipleNegatives", "CosineSimilarity"] | None = None
    """What is made small. `MultipleNegatives`, for `anchor` and `positive`: the doubt about which of the texts of a
    micro-batch belongs to an anchor. `CosineSimilarity`, for `sentence1`, `sentence2` and `score`: the squared
    difference of cosine and score. Unset: by the columns."""
    pooling: Literal["Mean", "CLS"] = "Mean"
    """How the vectors of a text's tokens become one: their mean, or the first one alone."""
    temperature: Annotated[float | None, Field(gt=0.0, le=10.0)] = None
    """With `MultipleNegatives`: what the cosines are divided by before they are compared, in units of the cosine; 1 /
    `scale` of sentence-transformers. A low one looks at the nearest wrong texts most. Unset: 0.05."""

    @property
    def heat(self) -> float:
        """The temperature."""
        return TEMPERATURE if self.temperature is None else self.temperature


class Seq2SeqSettings(ApiModel):
    """How a source becomes its target."""

    max_target_length: Annotated[int, Field(ge=2, le=131072)] = 128
    """The longest target, in tokens, the one that ends it among them; what is longer is cut, and the report counts how
    many were. The longest source is `task.maxLength`."""
    source_language: LanguageCode | None = None
    """The language of the sources, by the code that the model has for it: `en_XX`. Needed by a model with codes of
    languages (mBART), refused for any other."""
    target_language: LanguageCode | None = None
    """The language of the targets, by the code that the model has for it: `de_DE`. The published model begins its
    answers with it. The same may be set for both, as to summarize."""

    rules: ClassVar = (
        Rule(
            cel="has(self.sourceLanguage) == has(self.targetLanguage)",
            message="sourceLanguage and targetLanguage go together; set both, or neither",
            holds=lambda settings: (settings.source_language is None) == (settings.target_language is None),
        ),
    )


FOCAL_GAMMA = 2.0
"""As its authors found best."""


class LabelWeight(ApiModel):
    """How much the rows of a label count."""

    label: Label
    """The label, as the data has it."""
    weight: Annotated[float, Field(gt=0.0, le=1000000.0)]
    """How much a row of the label counts, in rows of a label of weight 1."""


class ClassificationSettings(ApiModel):
    """What the loss makes of the labels."""

    loss: Literal["CrossEntropy", "Focal"] = "CrossEntropy"
    """`Focal` multiplies the cross-entropy of a row by (1 - p)^gamma, where p is the probability that the model gives
    to the right label: rows that it has learned count less."""
    focal_gamma: Annotated[float | None, Field(gt=0.0, le=10.0)] = None
    """With `Focal`: the exponent of that factor of the loss; the larger, the less such rows count. Unset: 2."""
    class_weights: Literal["None", "Balanced"] = "None"
    """`Balanced` weighs the rows of each label such that all labels count the same: rows / (labels × rows of the
    label), of the training split, as scikit-learn does."""
    weights: (
        Annotated[
            list[LabelWeight],
            Field(
                min_length=1,
                max_length=1000,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["label"]},
            ),
        ]
        | None
    ) = None
    """The weights of some labels, in the place of `classWeights`; the others weigh 1. Only their ratio matters."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.focalGamma) || self.loss == 'Focal'",
            message="focalGamma belongs to the loss Focal; remove it, or set loss to Focal",
            holds=lambda settings: settings.focal_gamma is None or settings.loss == "Focal",
            field="focalGamma",
        ),
        Rule(
            cel="!has(self.weights) || self.classWeights == 'None'",
            message="the labels have weights of their own; remove them, or set classWeights to None",
            holds=lambda settings: settings.weights is None or settings.class_weights == "None",
            field="weights",
        ),
        Rule(
            # The API server judges a list of type `map` without CEL.
            cel=None,
            message="a label has two weights; keep one of them",
            holds=lambda settings: len({each.label for each in settings.weights or []}) == len(settings.weights or []),
            field="weights",
        ),
    )

    @property
    def gamma(self) -> float | None:
        """Of the focal loss; None for another loss."""
        return (self.focal_gamma or FOCAL_GAMMA) if self.loss == "Focal" else None


@dataclass(frozen=True)
class PreferenceLoss:
    """One way to compare two answers."""

    does: str
    """What is made small, in a clause."""
    beta: float = 0.1
    """What `beta` is where the manifest does not say."""
    refers: bool = False
    """Whether the model is compared with what it was before the training."""
    per_token: bool = True
    """Whether an answer is worth the mean over its tokens, and not their sum."""
    smooths: bool = False
    """Whether `labelSmoothing` means anything to it."""


PREFERENCE_LOSSES: dict[str, PreferenceLoss] = {
    "Sigmoid": PreferenceLoss("is the loss of DPO", refers=True, per_token=False, smooths=True),
    "IPO": PreferenceLoss(
        "draws the difference of the answers' mean log-probabilities, each measured against the model as it was, to"
        " 1 / (2 × beta) and no further, so that it overfits less on rows that are certain",
        refers=True,
        per_token=False,
    ),
    "SimPO": PreferenceLoss(
        "makes the mean log-probability of the chosen answer's tokens the greater one by a margin, `gamma`, whatever"
        " the model was before",
        beta=2.0,
        smooths=True,
    ),
    "ORPO": PreferenceLoss(
        "teaches the chosen answer itself, by the mean loss of its tokens, and adds `beta` times the loss of the"
        " odds of both answers; it needs no training on answers before it"
    ),
}
"""By the name that `task.preference.loss` has."""
SIMPO_GAMMA = 0.5
"""As its authors' code has it, beside their beta of 2; TRL's too."""


def _what_losses_do() -> str:
    return " ".join(f"`{name}` {loss.does}." for name, loss in PREFERENCE_LOSSES.items())


def _betas() -> str:
    return ", ".join(f"{loss.beta:g} ({name})" for name, loss in PREFERENCE_LOSSES.items())


def _smoothing_rule() -> Iterator[Rule]:
    names = [name for name, loss in PREFERENCE_LOSSES.items() if loss.smooths]
    yield Rule(
        cel=f"self.labelSmoothing == 0.0 || self.loss in {names}",
        message=f"only the losses {listed(names)} can doubt which answer is the better one; remove labelSmoothing, or"
        " change the loss",
        holds=lambda settings: settings.label_smoothing == 0.0 or settings.row.smooths,
        field="labelSmoothing",
    )


class PreferenceSettings(ApiModel):
    """How two answers to a prompt are compared."""

    loss: Annotated[str, OneOf(PREFERENCE_LOSSES), Field(json_schema_extra=filled(losses=_what_losses_do))] = "Sigmoid"
    """What is made small. {losses}"""
    beta: Annotated[float | None, Field(gt=0.0, le=100.0, json_schema_extra=filled(betas=_betas))] = None
    """What a log-probability, or its gain, is multiplied with, in rewards per nat; with `ORPO`, the weight of the odds.
    A lower value lets the model move further from what it was. Unset: by the loss, {betas}."""
    gamma: Annotated[float | None, Field(ge=0.0, le=100.0)] = None
    """With `SimPO`: by how much the chosen answer must lead, in the units of the loss: nats per token, times `beta`.
    Unset: 0.5."""
    label_smoothing: Annotated[float, Field(ge=0.0, le=0.49)] = 0.0
    """The share of the rows, 0 to 0.49, whose answers may be the wrong way round (conservative DPO): the model does not
    learn to be sure. The loss of an evaluation is without it."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.gamma) || self.loss == 'SimPO'",
            message="gamma belongs to the loss SimPO; remove it, or set loss to SimPO",
            holds=lambda settings: settings.gamma is None or settings.loss == "SimPO",
            field="gamma",
        ),
        _smoothing_rule,
    )

    @property
    def row(self) -> PreferenceLoss:
        """What is known of the loss."""
        return PREFERENCE_LOSSES[self.loss]

    @property
    def strength(self) -> float:
        """The beta, by the loss where the manifest does not say."""
        return self.row.beta if self.beta is None else self.beta

    @property
    def margin(self) -> float:
        """By how much the chosen answer's reward must be the higher one."""
        return SIMPO_GAMMA if self.gamma is None else self.gamma


class MultiLabelSettings(ApiModel):
    """How several labels are read and given."""

    separator: Annotated[str, Field(min_length=1, max_length=8)] = ","
    """What stands between the labels of a cell that is a text: `fees, refunds`. A list, or the JSON of one, needs
    none."""
    threshold: Annotated[float | None, Field(gt=0, lt=1)] = None
    """The score, a share between 0 and 1, from which on a label is given; the same for all labels. Unset: the one of
    0.01 to 0.99 that gives the highest F1 over all labels on the validation split, or 0.5 without one. `threshold` of
    the published config.json has it."""
