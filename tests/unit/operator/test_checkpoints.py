"""What a job's checkpoints change of its pods, its status and its attempts."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from kubetune_api.job import Checkpoints
from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_api.status import CheckpointStatus, FineTuneJobStatus
from kubetune_api.stopping import STOP_FOLDER, STOP_VARIABLE, stop_hook
from kubetune_operator.jobs.checkpoints import saving_seconds
from kubetune_operator.jobs.history import goodput
from kubetune_operator.jobs.kinds import FINE_TUNE_JOB
from kubetune_operator.jobs.metrics import JobMetrics
from kubetune_operator.jobs.run_gauges import RunSample, run_sample
from kubetune_operator.machinery.events import Regarding
from support.observed_jobs import (
    Object,
    after,
    at,
    attempt,
    events_of,
    failed,
    job,
    plan,
    pod,
    progress,
    ray_cluster,
    ray_job,
    report,
    see,
    started,
)

SAVES: Object = {"checkpoints": {"everySteps": 2}}
NEVER_SAVED: Object = {
    "task": {"type": "Embedding"},
    "dataset__columns": {"anchor": "question", "positive": "answer"},
    "training": {},
    "resources": {"workers": 2, "minWorkers": 1},
}
"""Fewer workers could not go on from what was saved."""
TOLD = Regarding(FINE_TUNE_JOB, "team-a", "reviews", "uid")


def kept(step: int | None = 40, **more: Any) -> Object:
    """What a trainer says of its checkpoints once it has committed one."""
    return {"step": step, "time": at(30), "sizeBytes": 1000, "uploadSeconds": 20.0, "stallSeconds": 1.0} | more


def templates(found: Object) -> dict[str, Object]:
    cluster = found["spec"]["rayClusterSpec"]
    return {
        "head": cluster["headGroupSpec"]["template"]["spec"],
        "worker": cluster["workerGroupSpecs"][0]["template"]["spec"],
        "submitter": found["spec"]["submitterPodTemplate"]["spec"],
    }


def pods_of(status: Object | None = None, **spec: Any) -> dict[str, Object]:
    found = plan(job(status, **spec)).create
    assert found is not None
    return templates(found)


def variables(spec: Object) -> dict[str, str]:
    return {one["name"]: one["value"] for one in spec["containers"][0]["env"]}


@pytest.mark.parametrize(
    ("known", "seconds"),
    [
        pytest.param(None, 120, id="nothing is known"),
        pytest.param({"step": 4}, 120, id="none was measured"),
        pytest.param({"uploadSeconds": 40.2, "stallSeconds": 1.0}, 83, id="twice what the last one took"),
        pytest.param({"uploadSeconds": 1.0}, 30, id="never less than half a minute"),
        pytest.param({"uploadSeconds": 1e6}, 600, id="never more than ten minutes"),
    ],
)
def test_a_save_at_the_end_gets_the_time_that_the_last_one_took_with_a_margin(
    known: Object | None, seconds: int
) -> None:
    assert saving_seconds(FineTuneJobStatus.model_validate(started(attempt(), checkpoint=known))) == seconds


def test_a_save_waits_for_the_step_that_the_training_is_in() -> None:
    slow = attempt(ended=600, runningTime=at(0), lastStep=30, resumedStep=20)
    status = FineTuneJobStatus.model_validate(started(slow, attempt(2), checkpoint=kept()))
    assert saving_seconds(status) == 2 * (60 + 21)
    assert saving_seconds(status.model_copy(update={"checkpoint": None})) == 120


def test_head_and_workers_of_a_job_with_checkpoints_are_asked_to_save_before_they_end() -> None:
    found = pods_of(training=SAVES)
    for role in ("head", "worker"):
        (container,) = found[role]["containers"]
        assert container["lifecycle"] == {"preStop": {"exec": {"command": stop_hook(120)}}}
        assert found[role]["terminationGracePeriodSeconds"] > 120, "Ray's processes end after it"
        said = variables(found[role])
        assert said[STOP_VARIABLE] == STOP_FOLDER
        assert said["RAY_JOB_STOP_WAIT_TIME_S"] == "120", "a driver that Ray is told to stop has as long"
        assert any(STOP_FOLDER.startswith(mount["mountPath"] + "/") for mount in container["volumeMounts"])
    assert "lifecycle" not in found["submitter"]["containers"][0]


def run_of(**spec: Any) -> Run:
    (config,) = [each for each in plan(job(**spec)).apply if "run.json" in each.get("data", {})]
    return Run.model_validate_json(config["data"]["run.json"])


def test_a_job_that_does_not_say_how_is_saved_as_often_as_it_is_worth_its_cost() -> None:
    assert "lifecycle" in pods_of()["worker"]["containers"][0]
    run = run_of()
    assert run.saves_by_default
    assert run.job.spec.training.checkpoints == Checkpoints()
    asked = run_of(training=SAVES)
    assert not asked.saves_by_default
    assert asked.job.spec.training.checkpoints == Checkpoints(every_steps=2)
    assert run_of(**NEVER_SAVED).job.spec.training.checkpoints is None


def test_pods_of_a_job_without_checkpoints_end_at_once() -> None:
    for spec in pods_of(**NEVER_SAVED).values():
        assert "terminationGracePeriodSeconds" not in spec
        assert "lifecycle" not in spec["containers"][0]
        assert STOP_VARIABLE not in variables(spec)


def test_the_next_attempts_pods_get_the_time_that_was_measured() -> None:
    found = pods_of(started(attempt(ended=-9999), checkpoint=kept()), training=SAVES)
    assert found["worker"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == stop_hook(42)


def test_what_a_trainer_says_of_its_checkpoints_is_in_the_status() -> None:
    shown = plan(job(started(attempt())), ray_job(1, "Running"), report(progress=progress(41), checkpoint=kept()))
    known = shown.status.checkpoint
    assert known is not None
    assert (known.step, known.time, known.size_bytes) == (40, at(30), 1000)


def test_the_status_keeps_them_over_the_attempts_and_what_the_next_has_not_measured_yet() -> None:
    status = started(attempt(ended=0, lastStep=43), attempt(2), checkpoint=kept())
    begun = plan(job(status), ray_job(2, "Running"), report(2, checkpoint={"step": 40, "resumedStep": 40}))
    known = begun.status.checkpoint
    assert known is not None
    assert (known.step, known.time, known.upload_seconds, known.resumed_step) == (40, at(30), 20.0, 40)
    assert [one.resumed_step for one in begun.status.attempts] == [None, 40]
    damaged = plan(job(status), ray_job(2, "Running"), report(2, checkpoint={"step": 30, "resumedStep": 30}))
    assert damaged.status.checkpoint
    assert (damaged.status.checkpoint.step, damaged.status.checkpoint.time) == (30, None)
    anew = plan(job(status), ray_job(2, "Running"), report(2, checkpoint={})).status.checkpoint
    assert anew
    assert (anew.step, anew.upload_seconds) == (None, 20.0), "none could be used; what a save takes is still known"


def test_a_new_attempt_begins_with_what_is_known_of_the_earlier_ones_checkpoints() -> None:
    begun = plan(job(started(attempt(ended=-9999, lastStep=43), checkpoint=kept(), progress=progress(43))))
    assert begun.create is not None
    assert begun.status.progress is None
    assert begun.status.checkpoint == CheckpointStatus.model_validate(kept())


def test_a_new_attempt_does_not_begin_with_what_an_earlier_one_could_not_save() -> None:
    begun = plan(job(started(attempt(ended=-9999), checkpoint=kept(failures=3, message="503"))))
    assert begun.create is not None
    assert begun.status.checkpoint == CheckpointStatus.model_validate(kept())
    assert condition_of(begun.status) == ("True", "CheckpointSaved", "Checkpoints are saved as they are due.")


@pytest.mark.parametrize(
    ("saved", "exempt"), [(kept(), True), (kept(time=None), False), (None, False)], ids=["saved", "an earlier", "none"]
)
@pytest.mark.parametrize("reason", [Reason.INTERRUPTED, Reason.EVICTED, Reason.ATTEMPT_DELETED])
def test_an_attempt_that_was_ended_and_has_saved_costs_none_of_the_attempts(
    reason: str, saved: Object | None, exempt: bool
) -> None:
    status = started(attempt(reason=reason, message="It was ended."))
    said = report(**({"checkpoint": saved} if saved else {}), progress=progress(41))
    ended = plan(job(status, retry={"maxAttempts": 1}), ray_job(1, "Failed", ended=-60), said, now=0).status
    assert (ended.attempts[0].reason, ended.attempts[0].exempt) == (reason, exempt)
    assert ended.phase == ("Pending" if exempt else "Failed")


def test_an_error_of_the_run_costs_an_attempt_whatever_was_saved() -> None:
    said = report(finished=failed(Reason.UNKNOWN, checkpoint=kept()))
    ended = plan(job(started(attempt())), ray_job(1, "Running"), said).status
    assert (ended.attempts[0].exempt, ended.reason) == (False, Reason.WAITING_TO_RETRY)
    assert "the next one goes on behind step 40" in (ended.message or "")


def test_without_a_checkpoint_the_next_attempt_starts_from_the_pretrained_model() -> None:
    ended = plan(job(started(attempt())), ray_job(1, "Running"), report(finished=failed(Reason.UNKNOWN))).status
    assert "the next one starts from the pretrained model" in (ended.message or "")


def test_what_is_saved_while_the_pods_of_an_ended_attempt_go_is_in_the_status() -> None:
    status = started(attempt(ended=0), checkpoint=kept(20))
    said = report(checkpoint=kept(43), progress=progress(43))
    shown = plan(job(status), pod(deleting=True, phase="Running"), said, now=5)
    assert shown.create is None
    assert (shown.status.checkpoint and shown.status.checkpoint.step, shown.status.attempts[0].last_step) == (43, 43)


def test_a_job_that_is_suspended_saves_while_its_pods_end() -> None:
    status = started(attempt(ended=0, reason="Suspended", exempt=True), checkpoint=kept(20))
    said = report(checkpoint=kept(43), progress=progress(43))
    shown = plan(job(status, suspend=True), pod(deleting=True, phase="Running"), said, now=5).status
    assert (shown.phase, shown.checkpoint and shown.checkpoint.step) == ("Suspended", 43)


def goes_on(before: Object, **said: Any) -> tuple[FineTuneJobStatus, list[str]]:
    """The status once the second attempt says this, and the notes of the events that tell of it."""
    now = plan(job(before), ray_job(2, "Running"), report(2, execution=2, **said)).status
    found = events_of(TOLD, FineTuneJobStatus.model_validate(before), now, after(0), "operator-0")
    return now, [event["note"] for event in found if event["reason"] == "TrainingResumed"]


def test_an_event_says_where_an_attempt_goes_on_and_how_many_steps_it_does_again() -> None:
    status = started(attempt(ended=0, lastStep=43), attempt(2, execution=2, runningTime=at(0)), checkpoint=kept())
    resumed = {"step": 40, "resumedStep": 40}
    _, early = goes_on(status, checkpoint=resumed)
    assert early == [], "no step is done yet"
    now, notes = goes_on(status, checkpoint=resumed, progress=progress(41))
    assert notes == ["Attempt 2 goes on behind step 40; 3 steps that an earlier one did will be done again."]
    _, later = goes_on(now.to_dict(), checkpoint=resumed, progress=progress(42))
    assert later == [], "it is said once"


def test_an_attempt_that_begins_anew_does_all_steps_again() -> None:
    _, notes = goes_on(started(attempt(ended=0, lastStep=43), attempt(2)), progress=progress(1))
    assert notes == ["Attempt 2 begins with the first step; 43 steps that an earlier one did will be done again."]


def test_a_first_attempt_does_no_step_again() -> None:
    status = started(attempt())
    now = plan(job(status), ray_job(1, "Running"), report(progress=progress(1))).status
    found = events_of(TOLD, FineTuneJobStatus.model_validate(status), now, after(0), "operator-0")
    assert "TrainingResumed" not in [event["reason"] for event in found]


def test_the_steps_of_an_execution_whose_hardware_a_queue_took_are_kept_in_mind() -> None:
    status = started(attempt(execution=1), progress=progress(43), checkpoint=kept())
    shown = plan(job(status), ray_job(1, "Running"), report(execution=2)).status
    assert (shown.progress, shown.attempts[0].last_step) == (None, 43)


def test_what_an_execution_says_that_still_saves_on_hardware_that_a_queue_took_ends_no_later_one() -> None:
    status = started(attempt(execution=2, runningTime=at(0)), progress=progress(7), checkpoint=kept())
    late = {"checkpoint": kept(3), "progress": progress(3), "finished": failed(Reason.INTERRUPTED)}
    shown = plan(job(status), ray_job(1, "Running"), report(execution=1, **late)).status
    assert (shown.attempts[0].completion_time, shown.attempts[0].execution) == (None, 2)
    assert shown.progress
    assert shown.checkpoint
    assert (shown.progress.step, shown.checkpoint.step) == (7, 40)
    ended = plan(job(status), ray_job(1, "Running"), report(execution=2, **late)).status
    assert ended.attempts[0].completion_time is not None


@pytest.mark.parametrize("saving", [True, False])
def test_a_head_that_ends_is_given_the_time_to_save_before_its_run_counts_as_lost(saving: bool) -> None:
    status = started(attempt(runningTime=at(0), headGoneTime=at(0)))
    shown = [ray_job(1, "Running"), ray_cluster(1), pod("head", phase="Running", deleting=True)]
    spec = {"training": SAVES} if saving else NEVER_SAVED
    late = plan(job(status, **spec), *shown, now=61).status
    assert (late.attempts[0].completion_time is None) == saving
    assert plan(job(status, **spec), *shown, now=181).status.attempts[0].reason == Reason.INTERRUPTED


def test_a_job_says_that_its_checkpoints_cannot_be_saved_and_trains_on() -> None:
    told = {"failures": 2, "message": "the checkpoint of step 8 was not saved: s3://models does not answer."}
    status = started(attempt(runningTime=at(0)))
    shown = plan(job(status), ray_job(1, "Running"), report(progress=progress(9), checkpoint=told)).status
    assert shown.attempts[0].completion_time is None
    assert "the checkpoint of step 8 was not saved: s3://models does not answer (2 in a row)" in (shown.message or "")


def condition_of(status: FineTuneJobStatus) -> tuple[str, str, str] | None:
    found = [one for one in status.conditions if one.type == "CheckpointsSaved"]
    return (found[0].status, found[0].reason, found[0].message) if found else None


def test_a_condition_says_whether_checkpoints_are_saved_and_no_job_without_them_has_it() -> None:
    status = started(attempt(runningTime=at(0)))
    says = [
        plan(job(status), ray_job(1, "Running"), report(**said)).status
        for said in ({}, {"checkpoint": kept()}, {"checkpoint": kept(failures=1, message="503")})
    ]
    assert condition_of(says[0]) is None
    assert condition_of(says[1]) == ("True", "CheckpointSaved", "Checkpoints are saved as they are due.")
    assert condition_of(says[2]) == ("False", "CheckpointFailed", "503")


def sample(status: Object, now: float = 100, **spec: Any) -> RunSample | None:
    return run_sample(see(job(status, **{"training": SAVES} | spec)).job, after(now))


RUNNING: Object = {"phase": "Running"}


def test_the_age_of_a_checkpoint_is_what_the_end_of_the_run_would_cost() -> None:
    running = attempt(runningTime=at(10))
    saved = sample(started(running, **RUNNING, checkpoint=kept()))
    assert saved == RunSample("reviews", age=70, stall=1.0, upload=50.0, failures=0.0, goodput=0.0)
    none_yet, resumed = sample(started(running, **RUNNING)), attempt(2, runningTime=at(90), resumedStep=40)
    assert none_yet
    assert none_yet.age == 90
    later = sample(started(attempt(ended=60), resumed, **RUNNING, checkpoint=kept()))
    assert later
    assert later.age == 10, "what came before is saved, whatever time passed until it went on"


def test_a_job_without_checkpoints_has_no_age_of_one_and_a_job_that_does_not_run_no_series() -> None:
    running = started(attempt(runningTime=at(10)), **RUNNING)
    assert sample(running, **NEVER_SAVED) == RunSample("reviews", goodput=0.0)
    assert sample(started(attempt(), phase="Pending")) is None


def test_goodput_is_the_share_of_the_time_whose_steps_were_not_done_again() -> None:
    def share(*attempts: Object, **more: Any) -> float | None:
        return goodput(FineTuneJobStatus.model_validate(started(*attempts, **more)), after(200))

    first = attempt(ended=100, runningTime=at(0), lastStep=50)
    second = attempt(2, runningTime=at(100), resumedStep=40)
    assert share(first, second, progress=progress(60)) == pytest.approx((80 + 100) / 200)
    assert share(first, attempt(2, runningTime=at(100)), progress=progress(9)) == pytest.approx(0.5), "it began anew"
    assert share(first, attempt(2)) == 1.0, "the second may yet go on behind the last step"
    assert share(attempt()) is None


def test_steps_that_were_lost_and_saves_that_failed_are_counted() -> None:
    metrics = JobMetrics(CollectorRegistry())

    def value(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"kubetune_{name}_total", {"namespace": "team-a"})

    def observe(before: Object, after: Object) -> None:
        metrics.observe_transition("team-a", *map(FineTuneJobStatus.model_validate, (before, after)))

    ended, resumed = attempt(ended=0, lastStep=43), attempt(2, resumedStep=40)
    observe(started(ended), started(ended, attempt(2)))
    assert (value("steps_lost"), value("checkpoint_failures")) == (0, 0), "they begin with 0"
    observe(started(ended, resumed), started(ended, resumed, progress=progress(41), checkpoint={"failures": 2}))
    observe(
        started(ended, resumed, progress=progress(41), checkpoint={"failures": 2}),
        started(ended, resumed, progress=progress(42), checkpoint={"failures": 1}),
    )
    assert (value("steps_lost"), value("checkpoint_failures")) == (3, 3), "one was saved between the two looks"


def test_numbers_that_nothing_bounds_add_little_to_the_counters() -> None:
    metrics, huge = JobMetrics(CollectorRegistry()), 10**15
    attempts = attempt(ended=0, lastStep=huge), attempt(2)
    changed = started(*attempts), started(*attempts, progress=progress(1), checkpoint={"failures": huge})
    metrics.observe_transition("team-a", *map(FineTuneJobStatus.model_validate, changed))
    counted = {
        name: metrics.registry.get_sample_value(f"kubetune_{name}_total", {"namespace": "team-a"})
        for name in ("steps_lost", "checkpoint_failures")
    }
    assert counted == {"steps_lost": 10**6, "checkpoint_failures": 10**6}


def run_of_the_next(*attempts: Object) -> Run:
    found = plan(job(started(*attempts)), now=9999)
    config = next(thing for thing in found.apply if thing["kind"] == "ConfigMap" and thing.get("immutable"))
    stored = config | {"metadata": config["metadata"] | {"uid": "u", "resourceVersion": "1"}}
    again = plan(job(found.status.to_dict()), stored, now=9999)
    assert (again.delete, again.create) == ((), found.create), "the run is the same when it is planned again"
    return Run.model_validate_json(config["data"]["run.json"])


def test_the_trainer_is_told_how_long_attempts_lasted_until_their_hardware_went() -> None:
    lost: Object = {"reason": "NodeLost", "exempt": True, "runningTime": at(0)}
    assert run_of_the_next(attempt(ended=100)).mean_seconds_between_interruptions is None
    twice = (attempt(ended=100, **lost), attempt(2, ended=400, **lost), attempt(3, ended=500, runningTime=at(400)))
    assert run_of_the_next(*twice).mean_seconds_between_interruptions == 300
    suspended = attempt(ended=100, runningTime=at(0), reason="Suspended", exempt=True)
    assert run_of_the_next(suspended).mean_seconds_between_interruptions is None


def test_no_age_is_told_of_what_nobody_asked_for_and_was_never_saved() -> None:
    running = started(attempt(runningTime=at(10)), **RUNNING)
    assert sample(running, training={}) == RunSample("reviews", goodput=0.0)
    assert sample(started(attempt(runningTime=at(10)), **RUNNING, checkpoint=kept()), training={}) == RunSample(
        "reviews", age=70, stall=1.0, upload=50.0, failures=0.0, goodput=0.0
    )
