"""Prometheus reads the alerts, and fires each when it should and not otherwise."""

import json
import subprocess
from pathlib import Path

import yaml

from servers.build import binary
from support.chart import CHART

ALERTS = CHART / "files" / "alerts.yaml"
CASES = Path(__file__).parent / "alerts_test.yaml"


def promtool(*arguments: str | Path) -> str:
    """What promtool says, which finds no error."""
    done = subprocess.run([binary("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_reads_the_alerts() -> None:
    assert "9 rules found" in promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS)


def test_each_alert_fires_when_it_should_and_not_otherwise() -> None:
    promtool("test", "rules", CASES)


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    tests = yaml.safe_load(CASES.read_text("utf-8"))["tests"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    cases = [case for test in tests for case in test.get("alert_rule_test", [])]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts


def test_prometheus_reads_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    board = json.loads((CHART / "files" / "dashboard.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(expressions)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
