import pytest

from kubetune_api.reasons import Reason
from kubetune_api.status import Condition, FineTuneJobStatus, Metric, Phase, Progress, Summary
from kubetune_operator.jobs.state import JobState, finished, holds, with_state
from support.observed_jobs import after, at

EMPTY = FineTuneJobStatus()


def conditions(status: FineTuneJobStatus) -> dict[str, str]:
    return {condition.type: condition.status for condition in status.conditions}


def stands(
    phase: Phase, reason: str = "Starting", *, seconds: float = 0, before: FineTuneJobStatus = EMPTY, **how: bool
) -> FineTuneJobStatus:
    return with_state(before, JobState(phase, reason, "So it is.", **how), 7, after(seconds))


@pytest.mark.parametrize(
    ("state", "true"),
    [
        pytest.param(JobState("Pending", "Starting", ""), {"Accepted"}, id="pending"),
        pytest.param(JobState("Pending", "ProfileForbids", "", refused=True), {"Stalled"}, id="refused"),
        pytest.param(JobState("Admitted", "Starting", "", admitted=True), {"Accepted", "Admitted"}, id="admitted"),
        pytest.param(
            JobState("Running", "Training", "", admitted=True), {"Accepted", "Admitted", "Running"}, id="running"
        ),
        pytest.param(JobState("Suspended", "Suspended", ""), {"Accepted", "Suspended"}, id="suspended"),
        pytest.param(JobState("Succeeded", "ModelPublished", ""), {"Accepted", "Succeeded", "Ready"}, id="succeeded"),
        pytest.param(JobState("Failed", "InvalidData", ""), {"Accepted", "Failed", "Stalled"}, id="failed"),
    ],
)
def test_the_conditions_of_each_state(state: JobState, true: set[str]) -> None:
    status = with_state(EMPTY, state, 7, after(0))
    assert {kind for kind, value in conditions(status).items() if value == "True"} == true
    assert (status.phase, status.reason, status.observed_generation) == (state.phase, state.reason, 7)
    assert {"Accepted", "Admitted", "Running", "Ready", "Stalled"} <= conditions(status).keys()


def test_a_condition_remembers_since_when_it_is_so() -> None:
    first = stands("Pending", seconds=0)
    second = stands("Running", "Training", seconds=10, before=first, admitted=True)
    third = stands("Running", "CleaningUp", seconds=20, before=second, admitted=True)
    since = {condition.type: condition.last_transition_time for condition in third.conditions}
    assert since == {"Accepted": at(0), "Admitted": at(10), "Running": at(10), "Ready": at(0), "Stalled": at(0)}
    assert {condition.reason for condition in third.conditions} == {Reason.ACCEPTED, "CleaningUp"}


def test_a_reason_counts_from_when_it_became_the_reason_however_the_sentence_and_the_phase_change() -> None:
    queued = stands("Pending", Reason.WAITING_FOR_QUOTA, seconds=0)
    admitted = stands("Admitted", Reason.WAITING_FOR_PODS, seconds=5000, before=queued, admitted=True)
    later = stands("Pending", Reason.WAITING_FOR_PODS, seconds=6000, before=admitted)
    assert [status.reason_since_time for status in (queued, admitted, later)] == [at(0), at(5000), at(5000)]


def test_a_job_that_was_never_suspended_says_nothing_of_it_and_one_that_was_says_that_it_is_over() -> None:
    assert "Suspended" not in conditions(stands("Pending"))
    resumed = stands("Pending", seconds=9, before=stands("Suspended", "Suspended"))
    assert conditions(resumed)["Suspended"] == "False"


def test_the_rest_of_the_status_stays() -> None:
    before = FineTuneJobStatus(start_time=at(0), run="run", workers=2, ready_workers=1)
    after_it = stands("Running", before=before)
    assert (after_it.start_time, after_it.run, after_it.workers, after_it.ready_workers) == (at(0), "run", 2, 1)


@pytest.mark.parametrize(
    ("kind", "value", "over"),
    [
        ("Succeeded", "True", True),
        ("Failed", "True", True),
        ("Failed", "False", False),
        ("Ready", "True", False),
    ],
)
def test_a_job_is_over_by_its_conditions_and_not_by_its_phase(kind: str, value: str, over: bool) -> None:
    told = Condition.model_validate(
        {"type": kind, "status": value, "reason": "So", "message": "So.", "lastTransitionTime": at(0)}
    )
    status = FineTuneJobStatus(phase="Failed", conditions=[told])
    assert finished(status) == over
    assert holds(status, told.type) == (value == "True")


def test_each_condition_says_of_which_generation_it_speaks() -> None:
    status = with_state(EMPTY, JobState("Running", "Training", "So."), 7, after(0))
    assert {condition.observed_generation for condition in status.conditions} == {7}


def test_the_summary_says_progress_metric_and_workers_for_kubectl_get() -> None:
    progress = Progress(step=120, total_steps=339, epoch=1.0)
    metric = Metric(name="test/accuracy", value=0.81412345678)
    before = FineTuneJobStatus(progress=progress, primary_metric=metric, workers=4, ready_workers=3)
    summary = stands("Running", before=before).summary
    assert summary == Summary(progress="120/339", metric="test/accuracy 0.8141", workers="3/4")
    assert stands("Pending").summary is None


def test_a_long_sentence_is_cut_to_what_a_status_takes() -> None:
    status = with_state(EMPTY, JobState("Failed", "Unknown", "x" * 9999), 1, after(0))
    FineTuneJobStatus.model_validate(status.to_dict())
    assert len(status.message or "") == 4096
