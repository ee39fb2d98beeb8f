"""Settings that one task has alone: a group of `spec.task` for each, named after its task."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Label, Rule, words

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


class EmbeddingSettings(ApiModel):
    """How texts become vectors, and what brings them together."""

    pooling: Literal["Mean", "CLS"] = "Mean"
    """How the vectors of a text's tokens become one: their mean, or the first one alone."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 0.05
    """What the cosines are divided by before they are compared, in units of the cosine; 1 / `scale` of
    sentence-transformers. A low one looks at the nearest wrong texts most."""


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


class PreferenceSettings(ApiModel):
    """How two answers to a prompt are compared."""

    loss: Literal["Sigmoid", "IPO"] = "Sigmoid"
    """`Sigmoid` is the loss of DPO. `IPO` draws the difference of the answers' mean log-probabilities to 1 / (2 × beta)
    and no further, so that it overfits less on rows that are certain."""
    beta: Annotated[float, Field(gt=0.0, le=100.0)] = 0.1
    """What the gain in log-probability is multiplied with, in rewards per nat.
    A lower value lets the model move further from what it was."""


class MultiLabelSettings(ApiModel):
    """How several labels are read and given."""

    separator: Annotated[str, Field(min_length=1, max_length=8)] = ","
    """What stands between the labels of a cell that is a text: `fees, refunds`. A list, or the JSON of one, needs
    none."""
    threshold: Annotated[float | None, Field(gt=0, lt=1)] = None
    """The score, a share between 0 and 1, from which on a label is given; the same for all labels. Unset: the one of
    0.01 to 0.99 that gives the highest F1 over all labels on the validation split, or 0.5 without one. `threshold` of
    the published config.json has it."""
