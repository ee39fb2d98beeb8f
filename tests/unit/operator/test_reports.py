import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_api.reasons import Reason
from kubetune_api.run_report import MAX_BYTES, RunReport
from kubetune_operator.jobs.reports import report_in
from support.observed_jobs import (
    ROOT,
    UID,
    artifact,
    attempt,
    failed,
    job,
    plan,
    progress,
    ray_job,
    report,
    report_text,
    see,
    started,
    succeeded,
)

DEEP = 20_000
UNREADABLE = {
    "no text": "",
    "no JSON": "attempt: 1",
    "half of a JSON": '{"attempt": 1',
    "a list": "[1]",
    "null": "null",
    "no attempt": "{}",
    "attempt 0": '{"attempt": 0}',
    "an attempt in words": '{"attempt": "1"}',
    "a true attempt": '{"attempt": true}',
    "an attempt that is a fraction": '{"attempt": 1.5}',
    "an attempt of 5,000 digits": '{"attempt": ' + "9" * 5000 + "}",
    "an attempt beyond 64 bits": '{"attempt": 9223372036854775808}',
    "an unknown field": '{"attempt": 1, "spec": {}}',
    "an unknown field further down": '{"attempt": 1, "progress": {"step": 1, "totalSteps": 2, "epoch": 1, "x": 1}}',
    "NaN": '{"attempt": 1, "progress": {"step": 1, "totalSteps": 2, "epoch": NaN}}',
    "Infinity": '{"attempt": 1, "progress": {"step": 1, "totalSteps": 2, "epoch": Infinity}}',
    "-Infinity": '{"attempt": 1, "progress": {"step": 1, "totalSteps": 2, "epoch": -Infinity}}',
    "1e999": '{"attempt": 1, "progress": {"step": 1, "totalSteps": 2, "epoch": 1e999}}',
    "a whole number beyond all fractions": '{"attempt": 1, "progress": {"step": 1, "totalSteps": 2, "epoch": 1%s}}'
    % ("0" * 400),
    "a step below 0": '{"attempt": 1, "progress": {"step": -1, "totalSteps": 2, "epoch": 1.0}}',
    "a lone surrogate": '{"attempt": 1, "doing": "\\ud800"}',
    "a sentence without end": json.dumps({"attempt": 1, "doing": "x" * 5000}),
    "1 MB": json.dumps({"attempt": 1, "doing": "x" * 1_000_000}),
    "lists in lists": "[" * DEEP + "]" * DEEP,
    "objects in objects": '{"attempt": 1, "progress": ' + '{"a": ' * DEEP + "1" + "}" * DEEP + "}",
    "a phase that is no word": '{"attempt": 1, "finished": {"phase": 4}}',
    "300 metrics": json.dumps(
        {"attempt": 1, "finished": {"metrics": [{"name": str(number), "value": 1.0} for number in range(300)]}}
    ),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_a_report_that_is_none_is_as_good_as_no_report(text: str) -> None:
    assert report_in({"data": {"report.json": text}}) is None


@pytest.mark.parametrize(
    "time", ["", "yesterday", "2026-05-01", "2026-05-01T12:00:00", "20260501T120000Z", "2026-13-01T12:00:00Z", "2" * 64]
)
@pytest.mark.parametrize("where", ["checkpoint", "finished"])
def test_a_time_of_a_tenant_that_is_none_ends_neither_a_status_nor_the_page_of_the_metrics(
    where: str, time: str
) -> None:
    told: dict[str, Any] = {"checkpoint": {"step": 3, "time": time}}
    text = json.dumps({"attempt": 1} | (told if where == "checkpoint" else {"finished": told}))
    assert report_in({"data": {"report.json": text}}) is None
    assert report_in({"data": {"report.json": text.replace(f'"{time}"', '"2026-05-01T12:00:00Z"')}}) is not None


@pytest.mark.parametrize(
    "config_map",
    [{}, {"data": None}, {"data": {}}, {"data": {"other": "1"}}, {"data": {"report.json": 1}}, {"data": []}],
)
def test_a_config_map_without_a_report_has_none(config_map: dict[str, Any]) -> None:
    assert report_in(config_map) is None


def test_the_longest_report_that_is_read() -> None:
    text = json.dumps({"attempt": 1})
    assert report_in({"data": {"report.json": text + " " * (MAX_BYTES - len(text))}}) == RunReport(attempt=1)
    assert report_in({"data": {"report.json": text + " " * (MAX_BYTES - len(text) + 1)}}) is None


def test_the_bytes_of_a_report_count_not_its_characters() -> None:
    text = json.dumps({"attempt": 1}) + "\u2003" * (MAX_BYTES // 2)
    assert len(text) < MAX_BYTES
    assert report_in({"data": {"report.json": text}}) is None


@settings(max_examples=50)
@given(st.text() | st.builds("{}{}".format, st.sampled_from(["", '{"attempt": 1, "doing": ', "[", "{"]), st.text()))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    found = report_in({"data": {"report.json": text}})
    assert found is None or isinstance(found, RunReport)


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "attempt",
                "execution",
                "doing",
                "checkpoint",
                "data",
                "labels",
                "progress",
                "finished",
                "metrics",
                "value",
                "name",
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
            max_leaves=8,
        ),
    )
)
def test_whatever_a_tenant_writes_a_plan_follows_and_its_status_is_json(written: dict[str, Any]) -> None:
    shown = report_text(json.dumps({"attempt": 1} | written))
    status = plan(job(started(attempt())), ray_job(1, "Running"), shown, now=1).status
    json.dumps(status.to_dict(), allow_nan=False)


@pytest.mark.parametrize("number", [2, 4])
def test_the_word_of_another_attempt_does_not_count(number: int) -> None:
    status = started(attempt(1, ended=0), attempt(2, ended=0), attempt(3))
    shown = plan(job(status), ray_job(3, "Running"), report(number, progress=progress(5), finished=succeeded())).status
    assert (shown.phase, shown.progress) == ("Running", None)


def test_the_word_of_another_namespace_does_not_count() -> None:
    forged = report(finished=succeeded(), in_namespace="team-b")
    assert see(job(started(attempt())), forged).report is None
    assert plan(job(started(attempt())), ray_job(1, "Running"), forged).status.phase == "Running"


def test_the_word_of_a_job_of_the_same_name_that_is_gone_does_not_count() -> None:
    old = report(finished=succeeded(), uid="99999999-0000-4000-8000-000000000001")
    assert plan(job(started(attempt())), ray_job(1, "Running"), old).status.phase == "Running"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"uri": "s3://models/team-b/x"}, id="another team's model"),
        pytest.param({"uri": f"{ROOT}-old/model"}, id="a name that begins the same"),
        pytest.param({"uri": f"{ROOT}/../other/model"}, id="a climb"),
        pytest.param({"uri": "https://elsewhere.test/model"}, id="another scheme"),
        pytest.param({"uri": ""}, id="nothing"),
        pytest.param({"manifestUri": "s3://models/manifest.json"}, id="a manifest elsewhere"),
        pytest.param({"reportUri": "javascript:alert(1)"}, id="a report that is a script"),
        pytest.param({"uri": ROOT.replace(UID, "99999999-0000-4000-8000-000000000001")}, id="another run of the job"),
    ],
)
def test_an_artifact_outside_of_the_runs_folder_is_no_success(changes: dict[str, Any]) -> None:
    forged = succeeded() | {"artifact": artifact(**changes)}
    ended = plan(job(started(attempt())), ray_job(1, "Running"), report(finished=forged)).status
    assert (ended.phase, ended.artifact) == ("Pending", None)
    assert ended.attempts[0].reason == Reason.UNKNOWN
    assert f"is not below {ROOT}" in (ended.attempts[0].message or "")


def test_a_success_keeps_the_artifact_the_metrics_and_the_last_progress() -> None:
    told = succeeded(metrics=[{"name": "test/accuracy", "value": 0.5}])
    ended = plan(job(started(attempt())), ray_job(1, "Running"), report(finished=told), now=60).status
    assert (ended.phase, ended.reason, ended.completion_time) == ("Succeeded", "ModelPublished", "2026-05-01T12:01:00Z")
    assert ended.artifact is not None
    assert ended.artifact.uri == f"{ROOT}/executions/1/model"
    assert [(metric.name, metric.value) for metric in ended.metrics] == [("test/accuracy", 0.5)]
    assert ended.progress is not None
    assert ended.progress.step == 9
    assert (ended.attempts[0].reason, ended.attempts[0].exempt, ended.workers) == ("ModelPublished", False, None)


@pytest.mark.parametrize(
    "finished",
    [
        pytest.param(succeeded() | {"artifact": None}, id="without an artifact"),
        pytest.param(succeeded() | {"artifact": artifact(rejected=True)}, id="with a rejected artifact"),
        pytest.param({}, id="without any word"),
        pytest.param({"phase": "Succeeded", "artifact": artifact()}, id="by its phase alone"),
    ],
)
def test_a_success_that_is_none_is_a_failure(finished: dict[str, Any]) -> None:
    ended = plan(job(started(attempt()), retry={"maxAttempts": 1}), ray_job(1), report(finished=finished)).status
    assert (ended.phase, ended.reason) == ("Failed", Reason.UNKNOWN)
    assert "neither that it succeeded nor why it failed" in (ended.message or "")


def test_a_missed_requirement_fails_the_job_and_keeps_the_rejected_model() -> None:
    rejected = artifact(uri=f"{ROOT}/executions/1/model", rejected=True)
    told = failed(Reason.REQUIREMENT_MISSED, "test/accuracy is 0.5, less than 0.8.", artifact=rejected)
    ended = plan(job(started(attempt())), ray_job(1, "Running"), report(finished=told)).status
    assert (ended.phase, ended.reason) == ("Failed", Reason.REQUIREMENT_MISSED)
    assert ended.message == "test/accuracy is 0.5, less than 0.8."
    assert ended.artifact is not None
    assert ended.artifact.rejected


@pytest.mark.parametrize("reason", ["ModelPublished", "Preempted", "NodeLost", "Suspended", "Whatever"])
def test_a_reason_that_no_trainer_gives_buys_no_free_retry(reason: str) -> None:
    ended = plan(job(started(attempt())), ray_job(1, "Running"), report(finished=failed(reason, "So."))).status
    assert (ended.attempts[0].reason, ended.attempts[0].exempt) == (Reason.UNKNOWN, False)
    assert ended.attempts[0].message == "So."


def test_a_metric_that_is_named_twice_stands_in_the_status_once() -> None:
    """The API server refuses a status that names one twice, and the job would never end."""
    told = succeeded(metrics=[{"name": "test/loss", "value": value} for value in (1.0, 2.0)])
    ended = plan(job(started(attempt())), ray_job(1, "Running"), report(finished=told)).status
    assert [(metric.name, metric.value) for metric in ended.metrics] == [("test/loss", 2.0)]


def test_a_status_shows_six_digits_of_a_metric() -> None:
    told = succeeded(metrics=[{"name": "test/accuracy", "value": 0.8141176470588235}])
    ended = plan(job(started(attempt())), ray_job(1, "Running"), report(finished=told)).status
    assert [metric.value for metric in ended.metrics] == [0.814118]


def test_the_conditions_of_a_report_are_not_those_of_the_job() -> None:
    told = succeeded()
    told["conditions"] *= 3
    ended = plan(job(started(attempt())), ray_job(1, "Running"), report(finished=told)).status
    assert [one.type for one in ended.conditions] == [
        "Accepted",
        "Admitted",
        "Running",
        "Ready",
        "Stalled",
        "Succeeded",
    ]


def test_a_report_cannot_move_the_start_or_the_attempts() -> None:
    told = succeeded() | {"startTime": "1970-01-01T00:00:00Z", "attempts": [attempt(9)], "run": "other"}
    ended = plan(job(started(attempt())), ray_job(1, "Running"), report(finished=told)).status
    assert (ended.start_time, ended.run, [one.number for one in ended.attempts]) == ("2026-05-01T12:00:00Z", UID, [1])
