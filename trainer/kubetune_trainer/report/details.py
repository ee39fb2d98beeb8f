"""What the report shows of an evaluation beyond its metrics: by the type of its details, whatever task they are of."""

from dataclasses import dataclass
from typing import Any

from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.report.by_type import KEYS, lines_by_type
from kubetune_trainer.report.classes import MOST_ROWS, class_table
from kubetune_trainer.report.confusion import heat_map, top_confusions
from kubetune_trainer.report.reliability import reliability_chart
from kubetune_trainer.report.scatter import scatter_charts
from kubetune_trainer.report.similarities import similarity_chart
from kubetune_trainer.report.thresholds import threshold_chart
from kubetune_trainer.tasks.class_metrics import ClassificationDetails
from kubetune_trainer.tasks.entities import EntityDetails
from kubetune_trainer.tasks.multi_label import LabelSetDetails
from kubetune_trainer.tasks.number_metrics import RegressionDetails
from kubetune_trainer.tasks.retrieval import RetrievalDetails

MOST_TYPES = 100
"""Types of entities that are shown; `metrics.jsonl` has all."""


@dataclass(frozen=True)
class DetailsSection:
    """A section of the page and of the card."""

    title: str
    template: str
    """The name that its templates for the page and the card have in common."""
    shows: str
    """What the page shows and the card does not."""
    values: dict[str, Any]
    """What the templates read, as `section.values`."""

    @property
    def page(self) -> str:
        """Its template for the page."""
        return f"sections/{self.template}.html.j2"

    @property
    def card(self) -> str:
        """Its template for the card."""
        return f"sections/{self.template}.md.j2"


def details_section(evaluation: EvaluationRecord | None) -> DetailsSection | None:
    """The section of an evaluation; None where it has no details, or none that are drawn."""
    match evaluation and evaluation.details:
        case ClassificationDetails() as details:
            return DetailsSection(
                "Labels",
                template="labels",
                shows="the confusion matrix",
                values={
                    "labels": len(details.labels),
                    "heat_map": heat_map(details),
                    "top_confusions": top_confusions(details),
                    "table": class_table(details.per_class),
                    "classes": details.per_class[:MOST_ROWS],
                    "reliability": reliability_chart(details.calibration),
                },
            )
        case EntityDetails() as details:
            return _entities(details)
        case LabelSetDetails() as details:
            return _of_label_sets(details)
        case RegressionDetails() as details:
            return DetailsSection(
                "Values",
                template="values",
                shows="the plot of predicted against true values",
                values={"charts": scatter_charts(details), "numbers": details.per_value[:MOST_ROWS]},
            )
        case RetrievalDetails() as details:
            return _search(details)
        case _:
            return None


def _entities(details: EntityDetails) -> DetailsSection:
    return DetailsSection(
        "Entities",
        template="entities",
        shows="the plot of the types",
        values={
            "types": list(zip(details.per_type, details.predicted, strict=True))[:MOST_TYPES],
            "lines": lines_by_type(details),
            "legend": KEYS,
        },
    )


def _search(details: RetrievalDetails) -> DetailsSection:
    return DetailsSection(
        "Search",
        template="search",
        shows="the similarities",
        values={"candidates": details.candidates, "chart": similarity_chart(details)},
    )


def _of_label_sets(details: LabelSetDetails) -> DetailsSection:
    return DetailsSection(
        "Labels",
        template="label_sets",
        shows="what other thresholds would come to",
        values={
            "labels": len(details.per_class),
            "table": class_table(details.per_class),
            "classes": details.per_class[:MOST_ROWS],
            "chart": threshold_chart(details),
            "threshold": details.threshold,
            "tuned": details.tuned,
        },
    )
