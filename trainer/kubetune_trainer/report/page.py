"""`report.html`: one file with everything about a run, which asks the network for nothing and runs no script."""

from typing import Any

from kubetune_trainer.records import EvaluationRecord, RunRecord
from kubetune_trainer.report import charts, findings
from kubetune_trainer.report.details import details_section
from kubetune_trainer.report.headline import custom_names, headline_figures
from kubetune_trainer.report.inputs import MOST_FILES, cleaning_bars, elapsed, label_distribution, manifest_yaml
from kubetune_trainer.report.slices import slice_table
from kubetune_trainer.report.templating import html_environment
from kubetune_trainer.report.verdict import verdict


def render_report(record: RunRecord) -> str:
    """The page, to be written as UTF-8."""
    return html_environment().get_template("report.html.j2").render(_context(record))


def _context(record: RunRecord) -> dict[str, Any]:
    judged = findings.headline(record)
    metric_names = list(dict.fromkeys(name for found in record.evaluations for name in found.metrics))
    labels = record.data.labels
    distribution = label_distribution(record.data)
    return {
        "record": record,
        "job": record.job,
        "verdict": verdict(record.requirements),
        "figures": headline_figures(record),
        "findings": findings.findings(record),
        "duration": elapsed(record),
        "curves": _present(charts.loss_chart(record), charts.metrics_chart(record)),
        "small_curves": _present(
            charts.learning_rate_chart(record), charts.gradient_norm_chart(record), charts.speed_chart(record)
        ),
        "judged": judged,
        "written_before": _written_before(record, judged),
        "metric_names": metric_names,
        "best": {name: findings.best_on_validation(record, name) for name in metric_names},
        "labels": labels,
        "section": details_section(judged),
        "slices": slice_table(judged, [*record.job.spec.task_row.headline, *custom_names(record)]) if judged else (),
        "cleaning": cleaning_bars(record.data),
        "rows_used": sum(split.rows for split in record.data.splits),
        "distribution": distribution,
        "labels_left_out": len(labels) > len(distribution),
        "most_files": MOST_FILES,
        "manifest": manifest_yaml(record),
        "versions": sorted(record.versions.items()),
    }


def _present(*found: charts.Chart | None) -> list[charts.Chart]:
    return [chart for chart in found if chart is not None]


def _written_before(record: RunRecord, judged: EvaluationRecord | None) -> dict[int, str]:
    """What the base model wrote, by row."""
    before = findings.before_training(record, judged) if judged else None
    return {answer.row: answer.written for answer in before.written} if before else {}
