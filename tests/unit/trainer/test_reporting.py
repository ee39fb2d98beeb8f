"""What a run in a cluster tells, when, and what it does when nobody takes it."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

import pytest

from kubetune_api.data_counts import DataCounts, LabelCounts
from kubetune_api.outcome import Ending
from kubetune_api.reasons import Reason
from kubetune_api.resolved_settings import ResolvedSettings
from kubetune_api.run_report import MAX_BYTES, RunReport
from kubetune_api.status import Artifact, CheckpointStatus, FineTuneJobStatus, Progress
from kubetune_trainer.config_map import ReportError
from kubetune_trainer.events import LastProgress
from kubetune_trainer.shown_rows import Piece, Sample
from kubetune_trainer.status_reporter import ReportSchedule, StatusReporter

COUNTS = DataCounts(rows_read=10, label_count=1, labels=[LabelCounts(name="a", rows=10)])
WAIT = 20.0
"""Seconds until a test that waits in vain gives up."""


def progress(step: int) -> Progress:
    return Progress(step=step, total_steps=100, epoch=0.5, loss=0.3)


def ended(reason: str | None = None) -> FineTuneJobStatus:
    ending = Ending("run-1", start_time="2026-03-02T09:14:07Z", completion_time="2026-03-02T09:15:07Z")
    return ending.failed(reason, "it failed") if reason else ending.succeeded()


class TestSchedule:
    def test_nothing_new_is_never_due(self) -> None:
        assert ReportSchedule().due == inf

    def test_the_first_progress_goes_at_once(self) -> None:
        schedule = ReportSchedule()
        schedule.when_convenient(100.0)
        assert schedule.due == 100.0

    def test_progress_goes_five_seconds_after_the_last_report(self) -> None:
        schedule = ReportSchedule()
        schedule.taken(100.0)
        schedule.when_convenient(101.0)
        schedule.when_convenient(104.0)
        assert schedule.due == 105.0

    def test_a_phase_goes_at_once_whatever_went_before(self) -> None:
        schedule = ReportSchedule()
        schedule.taken(100.0)
        schedule.when_convenient(101.0)
        schedule.at_once(102.0)
        assert schedule.due == 102.0

    def test_failures_are_repeated_ever_later_up_to_a_limit(self) -> None:
        schedule, waits = ReportSchedule(), []
        for _ in range(2000):
            schedule.taken(0.0)
            schedule.failed(0.0)
            waits.append(schedule.due)
        assert waits == [1.0, 2.0, 4.0, 8.0] + [15.0] * 1996

    def test_progress_hurries_no_repetition(self) -> None:
        schedule = ReportSchedule()
        for _ in range(4):
            schedule.taken(0.0)
            schedule.failed(0.0)
        schedule.when_convenient(6.0)
        assert schedule.due == 8.0

    def test_what_comes_while_a_report_is_under_way_is_not_forgotten(self) -> None:
        schedule = ReportSchedule()
        schedule.taken(0.0)
        schedule.when_convenient(0.1)
        schedule.arrived()
        assert schedule.due == 5.0

    def test_after_a_success_the_waits_are_short_again(self) -> None:
        schedule = ReportSchedule()
        for _ in range(3):
            schedule.taken(0.0)
            schedule.failed(0.0)
        schedule.arrived()
        schedule.taken(0.0)
        schedule.failed(0.0)
        assert schedule.due == 1.0


@dataclass
class FakeServer:
    """Takes reports, or fails as often as it is told to."""

    failures: float = 0
    reports: list[RunReport] = field(default_factory=list)
    attempts: int = 0
    open: threading.Event = field(default_factory=threading.Event)
    """While it is not set, nothing is answered."""
    came: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.open.set()

    def write(self, report: str) -> None:
        with self.came:
            self.attempts += 1
            self.came.notify_all()
        assert self.open.wait(WAIT)
        if self.attempts <= self.failures:
            raise ReportError("api:443 answered with HTTP status 500: etcd is away")
        with self.came:
            self.reports.append(RunReport.model_validate_json(report))
            self.came.notify_all()

    def wait_for(self, reports: int = 0, attempts: int = 0) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.reports) >= reports and self.attempts >= attempts, WAIT)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def reporter(server: FakeServer) -> Iterator[StatusReporter]:
    """One that repeats what failed quickly, and gives up within a second."""
    with StatusReporter(2, server.write, schedule=ReportSchedule(first_retry=0.001), patience=1.0) as reporter:
        yield reporter
        server.open.set()


def test_each_stage_arrives_with_all_that_is_known(server: FakeServer, reporter: StatusReporter) -> None:
    reporter.stage("Reading the data")
    server.wait_for(reports=1)
    reporter.claimed(3)
    server.wait_for(reports=2)
    assert server.reports == [
        RunReport(attempt=2, doing="Reading the data"),
        RunReport(attempt=2, doing="Reading the data", execution=3),
    ]


def test_how_it_trains_arrives_at_once_since_what_follows_its_end_depends_on_it(
    server: FakeServer, reporter: StatusReporter
) -> None:
    reporter.progress(progress(0))
    server.wait_for(reports=1)
    reporter.resolved(ResolvedSettings(workers=2, micro_batch_size=4))
    server.wait_for(reports=2)
    assert server.reports[1].resolved == ResolvedSettings(workers=2, micro_batch_size=4)


def test_nothing_is_sent_before_there_is_news(server: FakeServer) -> None:
    with StatusReporter(1, server.write):
        pass
    assert server.attempts == 0


def test_the_end_arrives_before_the_process_ends_and_progress_with_it(server: FakeServer) -> None:
    with StatusReporter(1, server.write) as reporter:
        listener = LastProgress(reporter)
        listener.stage("Training")
        listener.data(COUNTS, [Sample((Piece("a text", counted=False),), 2)])
        for step in range(50):
            listener.progress(progress(step))
        listener.checkpoint(CheckpointStatus(step=40, time="2026-03-02T09:14:07Z"))
        listener.note("a report has no room for this")
        listener.finished(ended())
    last = server.reports[-1]
    assert (last.doing, last.progress, last.finished) == ("Training", progress(49), ended())
    assert last.data == COUNTS
    assert last.checkpoint == listener.last_checkpoint == CheckpointStatus(step=40, time="2026-03-02T09:14:07Z")
    assert len(server.reports) < 5


def test_a_server_that_hangs_holds_nobody_up_and_gets_the_newest_only(
    server: FakeServer, reporter: StatusReporter
) -> None:
    server.open.clear()
    reporter.stage("Reading the data")
    server.wait_for(attempts=1)
    for step in range(1000):
        reporter.progress(progress(step))
    reporter.stage("Publishing")
    assert server.reports == []
    server.open.set()
    server.wait_for(reports=2)
    assert [report.doing for report in server.reports] == ["Reading the data", "Publishing"]
    assert server.reports[-1].progress == progress(999)


def test_a_report_that_failed_is_repeated_by_the_newest(
    server: FakeServer, reporter: StatusReporter, caplog: pytest.LogCaptureFixture
) -> None:
    server.failures = 3
    with caplog.at_level(logging.WARNING):
        reporter.stage("Reading the data")
        server.wait_for(reports=1)
    assert server.attempts == 4
    assert caplog.messages == 3 * [
        "A report did not arrive, the newest will be sent again: api:443 answered with HTTP status 500: etcd is away"
    ]


def test_the_end_is_repeated_until_it_arrives(server: FakeServer) -> None:
    server.failures = 5
    with StatusReporter(1, server.write, schedule=ReportSchedule(first_retry=0.001)) as reporter:
        reporter.finished(ended())
    assert [report.finished for report in server.reports] == [ended()]


def test_a_server_that_never_takes_the_end_does_not_keep_the_process(server: FakeServer) -> None:
    server.failures = inf
    with StatusReporter(1, server.write, schedule=ReportSchedule(first_retry=0.01), patience=0.2) as reporter:
        reporter.finished(ended())
    assert server.reports == []
    assert server.attempts > 1


def test_a_server_that_hangs_at_the_end_does_not_keep_the_process(server: FakeServer) -> None:
    server.open.clear()
    with StatusReporter(1, server.write, patience=0.2) as reporter:
        reporter.finished(ended())
    assert server.reports == []
    server.open.set()


def test_of_two_endings_the_first_counts(server: FakeServer, reporter: StatusReporter) -> None:
    reporter.finished(ended(Reason.INTERRUPTED))
    reporter.finished(ended(Reason.UNKNOWN))
    server.wait_for(reports=1)
    (report,) = server.reports
    assert report.finished is not None
    assert report.finished.conditions[0].reason == Reason.INTERRUPTED


def test_a_loss_that_is_no_number_is_left_out(server: FakeServer, reporter: StatusReporter) -> None:
    reporter.progress(Progress(step=1, total_steps=2, epoch=0.5, loss=float("nan")))
    server.wait_for(reports=1)
    assert server.reports[0].progress == Progress(step=1, total_steps=2, epoch=0.5)


def test_the_longest_report_is_within_the_bound() -> None:
    long = "file:///" + "ä" * 2040
    ending = Ending(
        "r" * 63,
        start_time="2026-03-02T09:14:07Z",
        completion_time="2026-03-02T09:15:07Z",
        progress=progress(99),
        metrics={f"{number:064}": -1.2345678901234567e-300 for number in range(256)},
        artifact=Artifact(
            uri=long, manifest_uri=long, report_uri=long, digest=f"sha256:{'0' * 64}", size_bytes=10**15, rejected=True
        ),
    )
    written: list[str] = []
    with StatusReporter(999, written.append) as reporter:
        reporter.stage("\U0001f600" * 4096)
        reporter.claimed(1000)
        reporter.progress(progress(99))
        reporter.finished(ending.failed(Reason.REQUIREMENT_MISSED, "\U0001f600" * 5000))
    assert RunReport.model_validate_json(written[-1]).finished is not None
    assert 60_000 < len(written[-1].encode()) < MAX_BYTES
