"""What a model is judged by: one row for each metric. Rules, enumerations, titles and tables follow from it."""

import math
from dataclasses import dataclass
from typing import Literal

from kubetune_api.numbers import number

SPLITS = ("validation", "test")
"""The splits that a metric may be measured on; `validation/loss` is a metric's full name."""


@dataclass(frozen=True)
class MetricRow:
    """One metric."""

    title: str
    """The name for people: "F1 (macro)"."""
    best: Literal["Min", "Max"]
    """Whether the lowest or the highest value is the best."""
    bounded: bool = True
    """Whether it lies between 0 and 1, and is shown with a fixed number of decimals."""
    in_units: bool = False
    """Whether it is in the units of the data's own values, and so on another scale than the other metrics."""
    digits: int = 4
    """Decimals of a bounded metric, significant digits of any other."""
    hub: tuple[str, str | None] | None = None
    """The metric of the Hugging Face hub and how it is averaged; None: it has the same name there."""
    also: tuple[str, ...] = ()
    """What other trainers call it."""


CUSTOM = "custom."
"""What the names of metrics begin with that packages of the user's own offer: `test/custom.cost`."""
ENTRY_POINTS = "kubetune.metrics"
"""The group of entry points by which they do."""

LOSS = "loss"
"""Every task has it."""

METRICS: dict[str, MetricRow] = {
    LOSS: MetricRow("loss", "Min", bounded=False),
    "accuracy": MetricRow("accuracy", "Max"),
    "precision_macro": MetricRow("precision (macro)", "Max", hub=("precision", "macro")),
    "recall_macro": MetricRow("recall (macro)", "Max", hub=("recall", "macro")),
    "f1_macro": MetricRow("F1 (macro)", "Max", hub=("f1", "macro"), also=("f1",)),
    "f1_weighted": MetricRow("F1 (weighted)", "Max", hub=("f1", "weighted")),
    "f1_micro": MetricRow("F1 (micro)", "Max", hub=("f1", "micro")),
    "mcc": MetricRow("MCC", "Max", bounded=False, hub=("matthews_correlation", None), also=("matthews_correlation",)),
    "auc": MetricRow("AUC", "Max", hub=("roc_auc", None), also=("roc_auc", "auroc")),
    "ece": MetricRow("calibration error (ECE)", "Min", also=("expected_calibration_error",)),
    "precision_micro": MetricRow("precision (micro)", "Max", hub=("precision", "micro")),
    "recall_micro": MetricRow("recall (micro)", "Max", hub=("recall", "micro")),
    "subset_accuracy": MetricRow("subset accuracy", "Max", hub=("accuracy", None)),
    "entity_precision": MetricRow("entity precision", "Max", hub=("precision", None), also=("overall_precision",)),
    "entity_recall": MetricRow("entity recall", "Max", hub=("recall", None), also=("overall_recall",)),
    "entity_f1": MetricRow("entity F1", "Max", hub=("f1", None), also=("overall_f1", "seqeval_f1")),
    "mse": MetricRow("mean squared error", "Min", bounded=False, in_units=True),
    "rmse": MetricRow("RMSE", "Min", bounded=False, in_units=True),
    "mae": MetricRow("mean absolute error", "Min", bounded=False, in_units=True),
    "r2": MetricRow("R²", "Max", bounded=False, hub=("r_squared", None)),
    "pearson": MetricRow("Pearson correlation", "Max", bounded=False, hub=("pearsonr", None), also=("pearsonr",)),
    "spearman": MetricRow("Spearman correlation", "Max", bounded=False, hub=("spearmanr", None), also=("spearmanr",)),
    "reward_accuracy": MetricRow("reward accuracy", "Max", also=("rewards/accuracies",)),
    "reward_margin": MetricRow("reward margin", "Max", bounded=False, also=("rewards/margins",)),
    "recall_at_1": MetricRow("recall at 1", "Max"),
    "recall_at_10": MetricRow("recall at 10", "Max"),
    "mrr": MetricRow("mean reciprocal rank", "Max", also=("mrr_at_10",)),
    "perplexity": MetricRow("perplexity", "Min", bounded=False),
    "exact_match": MetricRow("exact match", "Max"),
    "token_f1": MetricRow("token F1", "Max"),
    "rouge_1": MetricRow("ROUGE-1", "Max", hub=("rouge", None), also=("rouge1",)),
    "rouge_2": MetricRow("ROUGE-2", "Max", hub=("rouge", None), also=("rouge2",)),
    "rouge_l": MetricRow("ROUGE-L", "Max", hub=("rouge", None), also=("rougeL", "rouge")),
    "bleu": MetricRow("BLEU", "Max", bounded=False),
    "chrf": MetricRow("chrF", "Max", bounded=False),
}
"""By name, in the order in which they are listed everywhere."""


def metric_row(name: str) -> MetricRow:
    """The row of a metric, by its name or its full name (`test/accuracy`); one of no table is a bounded one,
    unless it is the user's own."""
    plain = name.rpartition("/")[2]
    return METRICS.get(plain, MetricRow(plain, "Max", bounded=not plain.startswith(CUSTOM)))


def slice_of(name: str) -> str | None:
    """The slice of a metric's full name: `german` of `test/german/accuracy`; None of the whole split."""
    parts = name.split("/")
    return parts[1] if len(parts) > 2 else None


def metric_text(name: str, value: float) -> str:
    """The value of the metric of this name or full name, with the digits of its row."""
    row = metric_row(name)
    return f"{value:.{row.digits}f}" if row.bounded and math.isfinite(value) else number(value, row.digits)


def rank(name: str) -> tuple[int, int, str]:
    """The key that sorts full names: by split, then as the table has them, the unknown ones last."""
    split, _, plain = name.rpartition("/")
    places = list(METRICS)
    return (
        SPLITS.index(split) if split in SPLITS else len(SPLITS),
        places.index(plain) if plain in METRICS else len(places),
        name,
    )
