"""What a run leaves for people and scripts: `report.html`, the model card `README.md`, and `metrics.jsonl`."""

from kubetune_trainer.report.card import render_card
from kubetune_trainer.report.metrics_file import metric_line, metric_lines, write_metrics
from kubetune_trainer.report.page import render_report

__all__ = ["metric_line", "metric_lines", "render_card", "render_report", "write_metrics"]
