"""Reports against a real API server, with no more rights than the head of a run has."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubetune_api.outcome import Ending
from kubetune_api.run import ReportTo
from kubetune_api.run_report import RunReport
from kubetune_api.status import Progress
from kubetune_trainer.config_map import ConfigMap, ReportError
from kubetune_trainer.status_reporter import ReportSchedule, StatusReporter
from servers.kube import ApiServer
from support.head_service_account import CONFIG_MAP, HeadAccount


@pytest.fixture
def head(api_server: ApiServer, tmp_path: Path) -> Iterator[HeadAccount]:
    head = HeadAccount(api_server, tmp_path)
    head.create()
    yield head
    head.delete()


def door(head: HeadAccount, name: str = CONFIG_MAP) -> ConfigMap:
    target = ReportTo(namespace=head.namespace, name=name)
    return ConfigMap(target, "127.0.0.1", head.server.port, head.folder)


def progress(step: int) -> Progress:
    return Progress(step=step, total_steps=100, epoch=0.5)


def test_reports_replace_each_other_and_nothing_else(head: HeadAccount) -> None:
    before = head.config_map()
    assert before["data"] == {"other": "kept"}
    with StatusReporter(2, door(head).write) as reporter:
        reporter.stage("Reading the data")
        head.wait_for(lambda report: report.doing == "Reading the data")
        reporter.claimed(4)
        reporter.progress(progress(7))
        ending = Ending("run-1", start_time="2026-03-02T09:14:07Z", completion_time="2026-03-02T09:15:07Z")
        reporter.finished(ending.succeeded())
    after = head.config_map()
    assert after["data"].keys() == {"other", "report.json"}
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    report = RunReport.model_validate_json(after["data"]["report.json"])
    assert (report.attempt, report.execution, report.progress) == (2, 4, progress(7))
    assert report.finished == ending.succeeded()


def test_the_head_may_write_no_other_config_map(head: HeadAccount) -> None:
    with pytest.raises(ReportError, match=r'answered with HTTP status 403: configmaps "other" is forbidden'):
        door(head, "other").write("{}")


def test_a_right_that_is_revoked_ends_nothing_and_counts_again_once_it_is_back(head: HeadAccount) -> None:
    with StatusReporter(1, door(head).write, schedule=ReportSchedule(first_retry=0.1)) as reporter:
        reporter.stage("Reading the data")
        head.wait_for(lambda report: report.doing == "Reading the data")
        head.revoke()
        reporter.stage("Training")
        time.sleep(1)
        assert head.report().doing == "Reading the data"
        head.grant()
        head.wait_for(lambda report: report.doing == "Training")


def test_a_server_that_hangs_gets_the_newest_report_when_it_is_back(head: HeadAccount) -> None:
    with StatusReporter(1, door(head).write, schedule=ReportSchedule(first_retry=0.1)) as reporter:
        reporter.stage("Reading the data")
        head.wait_for(lambda report: report.doing == "Reading the data")
        head.server.kube_apiserver.freeze()
        try:
            reporter.stage("Training")
            time.sleep(6)  # longer than a request may take
            reporter.stage("Publishing")
        finally:
            head.server.kube_apiserver.thaw()
        head.wait_for(lambda report: report.doing == "Publishing")


def test_a_token_that_is_refused_is_told(head: HeadAccount) -> None:
    (head.folder / "token").write_text("no token of this server")
    with pytest.raises(ReportError, match="answered with HTTP status 401: Unauthorized"):
        door(head).write("{}")
