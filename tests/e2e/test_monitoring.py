"""A real Prometheus beside the cluster: the alerts load, and every query of the dashboard has an answer."""

import json
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cluster.__main__ import the_prometheus
from cluster.install import Administrator
from servers.prometheus import ALERTS
from support.chart import CHART
from support.e2e_jobs import RealJob, long_job, tiny_job

BAD_COLUMN = {"uri": "s3://assets/tiny/rows.csv", "columns": {"text": "body", "label": "label"}}


def queries() -> dict[str, str]:
    """Each query of the dashboard by its panel, for all namespaces; without the zero that stands for no answer."""
    board = json.loads((CHART / "files" / "dashboard.json").read_text("utf-8"))
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$namespace", ".*").removesuffix(" or vector(0)")
        for panel in board["panels"]
        for target in panel.get("targets", [])
    }


@pytest.fixture(scope="module")
def life(admin: Administrator, assets: str) -> Iterator[RealJob]:
    """A job that trains, after one that succeeded and one that failed, beside one that a quota keeps out."""
    quota = {"hard": {"count/rayjobs.ray.io": "0"}}
    with admin.team() as team, admin.team() as full:
        metadata = {"name": "no-runs", "namespace": full}
        admin.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": quota})
        RealJob(admin, full, "kept-out", tiny_job()).apply()
        over = [
            RealJob(admin, team, "succeeds", tiny_job()).apply(),
            RealJob(admin, team, "fails", tiny_job(dataset=BAD_COLUMN)).apply(),
        ]
        assert [job.end()["phase"] for job in over] == ["Succeeded", "Failed"]
        job = RealJob(admin, team, "trains", long_job()).apply()
        job.training()
        yield job


def answered(expression: str, number: int = 1, seconds: float = 90.0) -> list[dict[str, Any]]:
    """The samples of an expression that are numbers, as soon as there are so many."""
    deadline = time.monotonic() + seconds
    while True:
        found = [sample for sample in the_prometheus().query(expression) if math.isfinite(float(sample["value"][1]))]
        if len(found) >= number or time.monotonic() > deadline:
            return found
        time.sleep(2)


def test_every_query_of_the_dashboard_has_an_answer(life: RealJob) -> None:
    assert [panel for panel, expression in queries().items() if not answered(expression)] == []


def test_each_worker_shows_its_steps_under_its_jobs_name(life: RealJob) -> None:
    labels = f'namespace="{life.namespace}", finetunejob="{life.name}"'
    for metric in ("loss", "learning_rate", "step_seconds", "step", "gradient_norm", "tokens_total"):
        samples = answered(f"ray_kubetune_{metric}{{{labels}}}", number=2)
        assert sorted(sample["metric"]["worker"] for sample in samples) == ["0", "1"], metric


def test_the_alerts_are_loaded_and_none_is_broken(life: RealJob) -> None:
    (loaded,), (written,) = the_prometheus().ask("rules")["groups"], yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    assert [rule["name"] for rule in loaded["rules"]] == [rule["alert"] for rule in written["rules"]]
    assert {rule["health"] for rule in loaded["rules"]} == {"ok"}
