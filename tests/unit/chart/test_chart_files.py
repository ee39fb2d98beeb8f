"""What the chart's files say of the operator, the models and the metrics is so."""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from kubetune_api.reasons import Reason
from kubetune_operator.jobs.metrics import JobMetrics
from kubetune_operator.machinery.metrics import Metrics
from kubetune_operator.settings import Settings, settings_from, variable
from support.chart import CHART, script

ROOT = Path(__file__).parents[3]
FILES = CHART / "files"
METRICS = {
    "kubetune_jobs": {"namespace", "phase"},
    "kubetune_job_queue_seconds_bucket": {"namespace", "le"},
    "kubetune_job_run_seconds_bucket": {"namespace", "le"},
    "kubetune_attempts_total": {"namespace", "reason"},
    "kubetune_reconcile_seconds_bucket": {"le"},
    "kubetune_reconcile_errors_total": set(),
    "kubetune_api_requests_total": {"verb", "resource", "code"},
    "kubetune_planner_refusals_total": set(),
    "kubetune_leader": set(),
    "kubetune_work_queue_length": set(),
    "kubetune_job_waiting_seconds": {"namespace", "reason"},
    "kubetune_job_checkpoint_age_seconds": {"namespace", "finetunejob"},
    "kubetune_job_checkpoint_stall_seconds": {"namespace", "finetunejob"},
    "kubetune_job_checkpoint_upload_bytes_per_second": {"namespace", "finetunejob"},
    "kubetune_job_checkpoint_failures": {"namespace", "finetunejob"},
    "kubetune_job_goodput_ratio": {"namespace", "finetunejob"},
    "kubetune_steps_lost_total": {"namespace"},
    "kubetune_checkpoint_failures_total": {"namespace"},
    "ray_kubetune_loss": {"namespace", "finetunejob", "worker"},
    "ray_kubetune_tokens_total": {"namespace", "finetunejob", "worker"},
    "ray_kubetune_learning_rate": {"namespace", "finetunejob", "worker"},
    "ray_kubetune_step_seconds": {"namespace", "finetunejob", "worker"},
}
"""The metrics that an expression may name, with their labels."""
TARGET_LABELS = {"pod"}
"""What Prometheus adds of the pod that it scrapes."""


def yaml_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def dashboard() -> dict[str, Any]:
    return dict(json.loads((FILES / "dashboard.json").read_text("utf-8")))


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml_of(FILES / "alerts.yaml")["groups"] for rule in group["rules"]]


def expressions() -> Iterator[Any]:
    for rule in rules():
        yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")


def test_the_notes_after_an_installation_name_files_that_are_there() -> None:
    named = re.findall(r"[\w./-]+\.(?:md|yaml)", (CHART / "templates" / "NOTES.txt").read_text("utf-8"))
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_the_copies_are_what_they_are_copied_from() -> None:
    for path, text in script("chart").texts().items():
        assert path.read_text("utf-8") == text, f"{path.name} is stale; run `make crds`"


def test_the_chart_holds_every_definition_and_no_other() -> None:
    names = [sorted(path.name for path in folder.glob("*.yaml")) for folder in (ROOT / "crds", FILES / "crds")]
    assert names[0] == names[1] != []


def test_project_chart_and_images_have_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    chart = yaml_of(CHART / "Chart.yaml")
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert {chart["version"], chart["appVersion"], *re.findall(r"^ARG VERSION=(.*)$", dockerfile, re.MULTILINE)} == {
        version
    }


def test_the_values_have_the_defaults_of_the_settings() -> None:
    values = yaml_of(CHART / "values.yaml")
    given = {re.sub(r"([A-Z])", r"_\1", name).lower(): value for name, value in values["operator"].items()}
    given |= {"kuberay_namespace": values["kuberayNamespace"], "monitoring_namespace": values["monitoringNamespace"]}
    # As the template writes them into the pod.
    texts = {name: json.dumps(value) if isinstance(value, list) else str(value) for name, value in given.items()}
    read = settings_from([], {variable(name): text for name, text in texts.items()})
    defaults = {setting.name: setting.default for setting in fields(Settings) if setting.default is not MISSING}
    assert {name: getattr(read, name) for name in given} == {name: defaults[name] for name in given}


def test_every_value_is_explained_by_the_schema_or_a_comment() -> None:
    lines = (CHART / "values.yaml").read_text("utf-8").splitlines()
    top = [number for number, line in enumerate(lines) if re.match(r"[a-zA-Z]", line)]
    uncommented = [
        lines[number].split(":")[0]
        for number in top
        if not lines[number - 1].startswith("#") and not lines[min(number + 1, len(lines) - 1)].lstrip().startswith("#")
    ]
    # Kubernetes' own words, which `kubectl explain` explains.
    known = {"nodeSelector", "tolerations", "affinity", "podAnnotations", "podLabels", "resources", "fullnameOverride"}
    assert set(uncommented) - known == set()


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_uses_metrics_and_labels_that_exist(expression: str) -> None:
    used = re.findall(r"\b((?:ray_)?kubetune_\w+)(?:\{([^}]*)\})?", expression)
    assert used or "vector" in expression
    allowed = set().union(TARGET_LABELS, *(METRICS[name] for name, _ in used))
    for name, matchers in used:
        assert set(re.findall(r"(\w+)\s*[=!]~?\"", matchers)) <= METRICS[name] | TARGET_LABELS
    for grouping in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", grouping)) <= allowed


@pytest.mark.parametrize("expression", expressions())
def test_what_every_replica_shows_of_the_same_jobs_is_counted_once(expression: str) -> None:
    gauge = r"kubetune_job(?:s|_waiting_seconds)\b"
    counted_once = re.sub(rf"max(?: by \([^)]*\) )?\({gauge}", "", expression)
    assert not re.search(gauge, counted_once)


def test_the_operator_exports_these_metrics() -> None:
    registry = CollectorRegistry()
    Metrics(registry, ())
    JobMetrics(registry).collect_jobs(list, lambda: datetime.now(UTC))
    exported = {family.name for family in registry.collect()}
    # Their series have a suffix that the name of the family has not.
    operators = {name for name in METRICS if not name.startswith("ray_")}
    assert {re.sub(r"_(bucket|total)$", "", name) for name in operators} <= exported


def test_every_metric_is_shown() -> None:
    shown = " ".join(target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", []))
    assert [name for name in METRICS if name not in shown] == []


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in rules()])
def test_an_alert_names_reasons_that_exist_and_says_what_to_do(rule: dict[str, Any]) -> None:
    reasons = {value for name, value in vars(Reason).items() if name.isupper()}
    for named in re.findall(r'reason=~"([^"]*)"', rule["expr"]):
        assert set(named.split("|")) <= reasons
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in dashboard()["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
