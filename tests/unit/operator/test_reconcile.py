from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_api.data_counts import DataCounts
from kubetune_api.reasons import Reason
from kubetune_api.status import ConditionType, FineTuneJobStatus
from kubetune_operator.jobs import names
from kubetune_operator.jobs.state import holds
from kubetune_operator.machinery.labels import MANAGED, MANAGED_BY, PRODUCT
from support.observed_jobs import (
    JOB,
    NAMESPACE,
    REPORTS,
    UID,
    Object,
    at,
    attempt,
    failed,
    finished,
    job,
    name_of,
    namespace,
    plan,
    pod,
    profile,
    progress,
    ray_cluster,
    ray_job,
    read,
    report,
    report_text,
    started,
    succeeded,
    waiting,
)
from support.simulated_cluster import (
    Act,
    DiedError,
    SimulatedCluster,
    node_is_lost,
    pods_end,
    pods_run,
    queue_admits,
    queue_takes_back,
    ray_job_ends,
    seconds,
    somebody_deletes_the_ray_job,
    spec,
    trainer_says,
)

SUCCEEDS: tuple[Act, ...] = (
    pods_run,
    seconds(60),
    trainer_says(progress=progress(3)),
    trainer_says(finished=succeeded()),
    ray_job_ends(),
    seconds(60),
    pods_end,
    seconds(1000),
)
LIVES: dict[str, tuple[dict[str, Any], tuple[Act, ...], str, int]] = {
    "a success": ({}, SUCCEEDS, "Succeeded", 1),
    "a success of which nothing is kept": ({"ttlSecondsAfterFinished": 500}, SUCCEEDS, "Succeeded", 1),
    "a success through a queue that takes the hardware back once": (
        {"queueName": "team-a"},
        (queue_admits, pods_run, seconds(30), queue_takes_back, seconds(500), queue_admits, *SUCCEEDS),
        "Succeeded",
        1,
    ),
    "a lost node, then a success": (
        {},
        (
            pods_run,
            node_is_lost,
            ray_job_ends("Failed", "FAILED"),
            seconds(10),
            pods_end,
            seconds(10),
            *SUCCEEDS,
        ),
        "Succeeded",
        2,
    ),
    "a suspension, then a success": (
        {},
        (pods_run, seconds(5), spec(suspend=True), pods_end, seconds(1000), spec(suspend=False), *SUCCEEDS),
        "Succeeded",
        2,
    ),
    "bad data": (
        {"ttlSecondsAfterFinished": 0},
        (pods_run, trainer_says(finished=failed(Reason.INVALID_DATA)), ray_job_ends("Failed", "FAILED"), pods_end),
        "Failed",
        1,
    ),
    "a trainer that is silent each time": (
        {"retry": {"maxAttempts": 2, "backoffSeconds": 10}},
        (pods_run, ray_job_ends("Failed", "FAILED"), seconds(10), pods_end, seconds(10)) * 2,
        "Failed",
        2,
    ),
    "a success whose report is lost, which the next attempt finds published": (
        {"retry": {"maxAttempts": 1}},
        (pods_run, ray_job_ends(), seconds(10), pods_end, seconds(10), *SUCCEEDS),
        "Succeeded",
        2,
    ),
    "a success of which nothing is ever reported": (
        {"retry": {"maxAttempts": 1}},
        (pods_run, ray_job_ends(), seconds(10), pods_end, seconds(10)) * 3,
        "Failed",
        2,
    ),
    "a RayJob that somebody deletes": (
        {},
        (pods_run, somebody_deletes_the_ray_job, pods_end, seconds(10), *SUCCEEDS),
        "Succeeded",
        2,
    ),
    "a deadline that passes": (
        {"activeDeadlineSeconds": 100},
        (pods_run, seconds(99), seconds(1), pods_end, seconds(1000)),
        "Failed",
        1,
    ),
}


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_a_life_ends_as_it_should(life: tuple[dict[str, Any], tuple[Act, ...], str, int]) -> None:
    fields, acts, phase, ray_jobs = life
    cluster = SimulatedCluster(**fields).after(*acts)
    assert (cluster.phase, cluster.created) == (phase, [name_of(number) for number in range(1, ray_jobs + 1)])


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_an_operator_that_dies_after_any_of_its_writes_changes_nothing_of_a_life(
    life: tuple[dict[str, Any], tuple[Act, ...], str, int],
) -> None:
    fields, acts, _, _ = life
    undisturbed = SimulatedCluster(**fields).after(*acts)
    for write in range(1, undisturbed.writes + 1):
        cluster = SimulatedCluster(dies_after=write, **fields).after(*acts)
        assert (cluster.status, cluster.names) == (undisturbed.status, undisturbed.names), f"after write {write}"
        assert cluster.created == undisturbed.created, f"after write {write}"


ACTS: dict[str, Act] = {
    "pods run": pods_run,
    "progress": trainer_says(progress=progress(3)),
    "success": trainer_says(finished=succeeded()),
    "storage fails": trainer_says(finished=failed(Reason.STORAGE_FAILED)),
    "complete": ray_job_ends(),
    "failed": ray_job_ends("Failed", "FAILED"),
    "node lost": node_is_lost,
    "pods end": pods_end,
    "deleted": somebody_deletes_the_ray_job,
    "suspend": spec(suspend=True),
    "resume": spec(suspend=False),
    "admitted": queue_admits,
    "preempted": queue_takes_back,
    "a moment": seconds(10),
    "an hour": seconds(3600),
}


@settings(max_examples=60)
@given(
    queue=st.sampled_from([None, "team-a"]),
    steps=st.lists(st.tuples(st.sampled_from(sorted(ACTS)), st.integers(0, 4)), max_size=25),
)
def test_whatever_happens_no_two_attempts_meet_and_the_job_comes_to_its_end(
    queue: str | None, steps: list[tuple[str, int]]
) -> None:
    cluster = SimulatedCluster(queueName=queue, retry={"maxAttempts": 3, "backoffSeconds": 10})
    for act, writes in steps:
        before = FineTuneJobStatus.model_validate(cluster.status)
        if writes:
            cluster.dies_within(writes)
        _follows(before, FineTuneJobStatus.model_validate(cluster.status))
        ACTS[act](cluster)
    spec(suspend=False)(cluster)
    for _ in range(6):
        if cluster.phase not in ("Succeeded", "Failed"):
            cluster.after(pods_end, seconds(3600), queue_admits, *SUCCEEDS)
    assert cluster.phase in ("Succeeded", "Failed")
    assert sum(not one["exempt"] for one in cluster.status["attempts"] if one["reason"] != "ModelPublished") <= 3


def _follows(before: FineTuneJobStatus, after: FineTuneJobStatus) -> None:
    assert before.start_time in (None, after.start_time), "a start is never moved"
    assert [one.number for one in after.attempts] == list(range(1, len(after.attempts) + 1))
    assert 0 <= len(after.attempts) - len(before.attempts) <= 1
    for old, new in zip(before.attempts, after.attempts, strict=False):
        assert old.completion_time in (None, new.completion_time), "an end is never moved"
        assert old.completion_time is None or old.reason == new.reason
    assert before.completion_time in (None, after.completion_time)


def test_a_new_job_begins_with_its_start_its_first_attempt_and_all_objects_in_one_plan() -> None:
    begun = plan(job(), now=5)
    assert begun.guards == ()
    assert begun.status.start_time == "2026-05-01T12:00:05Z"
    assert [(one.number, one.ray_job, one.completion_time) for one in begun.status.attempts] == [(1, name_of(1), None)]
    assert begun.status.run == UID
    assert begun.create is not None
    assert begun.create["metadata"]["name"] == name_of(1)
    assert [(thing["kind"], thing["metadata"]["name"]) for thing in begun.apply] == [
        ("ServiceAccount", "kubetune-head"),
        ("ServiceAccount", "kubetune-worker"),
        ("NetworkPolicy", "kubetune-default-pods"),
        ("NetworkPolicy", "kubetune-default-head"),
        ("ConfigMap", REPORTS),
        ("Role", REPORTS),
        ("RoleBinding", REPORTS),
        ("ConfigMap", name_of(1)),
    ]


@pytest.mark.parametrize(
    ("shown", "kuberay", "reason"),
    [
        pytest.param([job()], False, Reason.KUBERAY_MISSING, id="without KubeRay"),
        pytest.param([job(suspend=True)], True, Reason.SUSPENDED, id="created suspended"),
        pytest.param([job(profileRef__name="gone")], True, Reason.PROFILE_NOT_FOUND, id="without its profile"),
        pytest.param([job(spec__unknown=1)], True, Reason.INVALID_MANIFEST, id="a job of another version"),
        pytest.param(
            [job(), profile(namespaceSelector={"matchLabels": {"gpus": "yes"}})],
            True,
            Reason.PROFILE_FORBIDS,
            id="in the wrong namespace",
        ),
    ],
)
def test_what_may_not_run_yet_has_not_started_and_may_still_be_changed(
    shown: list[Any], kuberay: bool, reason: str
) -> None:
    waits = plan(*shown, kuberay=kuberay)
    assert (waits.apply, waits.create, waits.delete, waits.guards) == ((), None, (), ())
    assert (waits.status.start_time, waits.status.attempts, waits.status.reason) == (None, [], reason)
    assert (waits.again_after is not None) == (reason == Reason.KUBERAY_MISSING), "the rest is told by an event"


def test_a_namespace_that_gets_its_label_may_use_the_profile() -> None:
    rule = profile(namespaceSelector={"matchLabels": {"gpus": "yes"}})
    assert plan(job(), rule, namespace(gpus="no")).create is None
    assert plan(job(), rule, namespace(gpus="yes")).create is not None


RESTORED = {
    "an attempt that had begun": [attempt(seen=False)],
    "an attempt that ran": [attempt(runningTime=at(-10))],
    "an attempt that waited to retry": [attempt(1, ended=0), attempt(2, ended=0)],
    "a job that was suspended": [attempt(ended=0, reason="Suspended", exempt=True)],
}


@pytest.mark.parametrize("attempts", RESTORED.values(), ids=RESTORED)
def test_a_job_that_was_restored_under_another_uid_begins_its_own_run_from_its_first_attempt(
    attempts: list[Any],
) -> None:
    uid = "99999999-0000-4000-8000-000000000001"
    # What is left of the old one is restored as well, or not gone yet.
    begun = plan(job(started(*attempts), metadata={"uid": uid}), ray_job(deployment="Running"), pod(), now=20)
    assert begun.guards == ()
    assert begun.create is not None
    assert begun.create["metadata"]["name"] == names.ray_job(JOB, uid, 1)
    assert (begun.status.run, begun.status.start_time) == (uid, at(20))
    assert [(one.number, one.completion_time) for one in begun.status.attempts] == [(1, None)]
    assert begun.delete == ()


def test_a_job_that_is_being_deleted_is_left_alone() -> None:
    status = started(attempt())
    left = plan(job(status, metadata={"deletionTimestamp": "2026-05-01T12:00:00Z"}), ray_job(deployment="Failed"))
    assert (left.apply, left.create, left.delete, left.again_after) == ((), None, (), None)
    assert left.status == FineTuneJobStatus.model_validate(status)


def test_the_status_written_and_the_ray_job_not_the_same_attempt_is_created() -> None:
    again = plan(job(started(attempt(seen=False))), now=100)
    assert again.create is not None
    assert again.create["metadata"]["name"] == name_of(1)
    assert again.guards == ()
    assert len(again.status.attempts) == 1


def test_a_ray_job_whose_uid_was_not_written_down_is_taken_as_the_attempts_own() -> None:
    goes_on = plan(job(started(attempt(seen=False))), ray_job())
    assert goes_on.create is None
    assert goes_on.status.attempts[0].ray_job_uid == f"uid-of-{name_of(1)}"


def test_a_ray_job_that_came_and_went_while_nobody_looked_is_not_made_again_over_its_own_pods() -> None:
    for left in (pod(), ray_cluster()):
        waits = plan(job(started(attempt(seen=False))), left)
        assert (waits.create, waits.status.reason) == (None, Reason.CLEANING_UP)
        assert waits.again_after is not None


def test_a_run_that_began_and_ended_while_nobody_looked_is_judged_by_its_report() -> None:
    ended = plan(job(started(attempt(seen=False))), report(finished=succeeded()))
    assert (ended.create, ended.status.phase) == (None, "Succeeded")


def test_a_run_that_reported_and_has_no_ray_job_any_more_lost_it() -> None:
    ended = plan(job(started(attempt(seen=False))), report(progress=progress()))
    assert (ended.create, ended.status.attempts[0].reason) == (None, Reason.ATTEMPT_DELETED)


def test_while_the_api_server_knows_no_ray_jobs_none_counts_as_deleted() -> None:
    stands = plan(job(started(attempt())), kuberay=False)
    assert stands.status.reason == Reason.KUBERAY_MISSING
    assert stands.status.attempts[0].completion_time is None
    assert stands.again_after is not None
    assert plan(job(started(attempt())), kuberay=True).status.attempts[0].reason == Reason.ATTEMPT_DELETED


def test_a_profile_that_changed_before_the_ray_job_was_there_makes_the_run_anew() -> None:
    cluster = SimulatedCluster(dies_after=9)
    with pytest.raises(DiedError):
        cluster.look()
    assert ("ConfigMap", name_of(1)) in cluster.names
    assert not cluster.created
    before = cluster.things["ConfigMap", name_of(1)]["data"]
    cluster.put(profile(credentials=[{"prefix": "s3://", "secretName": "keys"}]))
    cluster.settle()
    assert cluster.created == [name_of(1)]
    assert cluster.things["ConfigMap", name_of(1)]["data"] != before


def test_the_plan_of_a_job_that_goes_on_repairs_what_somebody_took_away() -> None:
    cluster = SimulatedCluster().after(pods_run)
    cluster.remove("Role", "RoleBinding", "ServiceAccount", "NetworkPolicy")
    cluster.settle()
    assert {"Role", "RoleBinding", "ServiceAccount", "NetworkPolicy"} <= {kind for kind, _ in cluster.names}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        pytest.param("RoleBinding", {"subjects": []}, id="a RoleBinding that binds nobody"),
        pytest.param("Role", {"rules": []}, id="a Role that allows nothing"),
    ],
)
def test_what_somebody_took_from_a_right_is_given_back_while_the_run_goes_on(kind: str, change: Object) -> None:
    """S7: without it the trainer's word is lost."""
    cluster = SimulatedCluster().after(pods_run)
    (before,) = cluster.of(kind)
    cluster.put({**before, **change})
    cluster.settle()
    (after,) = cluster.of(kind)
    assert {key: after[key] for key in change} == {key: before[key] for key in change}


def test_a_binding_of_another_role_which_nobody_can_change_holds_nothing_else_up() -> None:
    cluster = SimulatedCluster().after(pods_run)
    (before,) = cluster.of("RoleBinding")
    foreign = {**before, "roleRef": {**before["roleRef"], "name": "of-a-tenant"}}
    cluster.put(foreign)
    cluster.remove("Role")
    cluster.settle()
    assert [binding["roleRef"]["name"] for binding in cluster.of("RoleBinding")] == ["of-a-tenant"]
    assert cluster.of("Role")


def test_a_profile_that_names_another_account_takes_no_right_from_the_head_that_runs() -> None:
    cluster = SimulatedCluster(retry={"backoffSeconds": 0}).after(pods_run)
    (before,) = cluster.of("RoleBinding")
    cluster.put(profile(serviceAccountName="cloud"))
    cluster.settle()
    assert cluster.of("RoleBinding") == [before]
    cluster.after(ray_job_ends("Failed", "FAILED"), seconds(10), pods_end, seconds(10))
    assert [subject["name"] for binding in cluster.of("RoleBinding") for subject in binding["subjects"]] == ["cloud"]


@pytest.mark.parametrize("name", ["Of_a_webhook", "a..b", "-a", "a\n", "a" * 254])
def test_an_account_of_no_possible_name_is_given_no_right_and_holds_nothing_up(name: str) -> None:
    """The API server refuses a RoleBinding with it, and the deletions of the same plan came after that."""
    odd = ray_job(deployment="Running")
    odd["spec"]["rayClusterSpec"] = {"headGroupSpec": {"template": {"spec": {"serviceAccountName": name}}}}
    goes_on = plan(job(started(attempt())), odd, pod("head", phase="Running"))
    (binding,) = (obj for obj in goes_on.apply if obj["kind"] == "RoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == ["kubetune-head"]


def test_another_ray_job_of_the_same_job_goes_whatever_its_name() -> None:
    stranger = ray_job(7, "Running")
    goes_on = plan(job(started(attempt())), ray_job(deployment="Running"), stranger)
    assert [(ref.kind.name, ref.name, ref.uid) for ref in goes_on.delete] == [
        ("RayJob", name_of(7), f"uid-of-{name_of(7)}")
    ]


def test_a_ray_job_that_somebody_made_anew_under_the_attempts_name_is_not_the_attempts() -> None:
    ended = plan(job(started(attempt())), ray_job(deployment="Running", uid="another"))
    assert ended.status.attempts[0].reason == Reason.ATTEMPT_DELETED
    assert [ref.uid for ref in ended.delete] == ["another"]


def test_progress_workers_and_execution_reach_the_status() -> None:
    shown = plan(
        job(started(attempt()), resources__workers=2),
        ray_job(deployment="Running"),
        ray_cluster(),
        pod("head", ready=True),
        pod(number=0, ready=True),
        pod(number=1),
        report(execution=4, data=read(10), progress=progress(3), doing="trains epoch 1"),
    ).status
    assert (shown.phase, shown.reason, shown.message) == ("Running", "Training", "trains epoch 1")
    assert (shown.ready_workers, shown.workers) == (1, 2)
    assert shown.progress is not None
    assert shown.progress.step == 3
    assert shown.data == DataCounts.model_validate(read(10))
    assert (shown.attempts[0].execution, shown.attempts[0].ray_cluster_uid) == (4, f"uid-of-{name_of(1)}-1")


def test_what_a_run_read_stays_in_the_status_when_it_ends() -> None:
    acts = (
        pods_run,
        trainer_says(data=read(10), progress=progress(3)),
        trainer_says(finished=succeeded(data=read(10))),
    )
    cluster = SimulatedCluster().after(*acts, ray_job_ends(), seconds(10), pods_end, seconds(10))
    assert cluster.phase == "Succeeded"
    assert DataCounts.model_validate(cluster.status["data"]) == DataCounts.model_validate(read(10))


SIGHTS = {
    "a new job": [job()],
    "a job that waits for its pods": [job(started(attempt())), ray_job(), pod(), pod("head")],
    "a job that runs": [job(started(attempt())), ray_job(deployment="Running"), report(progress=progress())],
    "an attempt whose end waits for its final report": [
        job(started(attempt())),
        ray_job(deployment="Failed", ended=-5),
    ],
    "an attempt that ended": [job(started(attempt())), report(finished=failed(Reason.STORAGE_FAILED))],
    "a job that waits to retry": [job(started(attempt(ended=0)))],
    "a job that waits for pods that end": [job(started(attempt(ended=-100))), pod()],
    "a suspended job": [job(started(attempt(ended=0, reason="Suspended", exempt=True)), suspend=True), pod()],
    "a finished job": [job(finished("Succeeded", attempt(ended=100), ended=0)), ray_job(deployment="Complete")],
    "a refused job": [job(profileRef__name="gone")],
}


@pytest.mark.parametrize("shown", SIGHTS.values(), ids=SIGHTS)
def test_the_same_sight_gives_the_same_plan(shown: list[Any]) -> None:
    assert plan(*shown, now=1) == plan(*shown, now=1)


@pytest.mark.parametrize("shown", SIGHTS.values(), ids=SIGHTS)
def test_the_status_that_a_plan_writes_makes_the_next_plan_write_nothing_new(shown: list[Any]) -> None:
    """But for the end of an attempt, from which what follows is planned next."""
    first = plan(*shown, now=1)
    written = {**shown[0], "status": first.status.to_dict()}
    others = shown[1:] if first.create is None else [*shown[1:], ray_job()]
    second = plan(written, *others, now=1)
    third = plan({**written, "status": second.status.to_dict()}, *others, now=1)
    assert third.status == second.status
    assert third.create == second.create or third.create is None


WAITS = SIGHTS | {
    "a pod that cannot fetch its image": [
        job(started(attempt())),
        ray_job(),
        pod(container=waiting("ErrImagePull"), created=-100),
    ],
    "a pod that fetches a large image": [
        job(started(attempt())),
        ray_job(),
        pod(container=waiting("ContainerCreating")),
    ],
    "a deadline": [job(started(attempt(runningTime=at(-7))), activeDeadlineSeconds=100), ray_job(deployment="Running")],
    "a deadline without its profile": [
        job(started(attempt(runningTime=at(-7))), activeDeadlineSeconds=100, profileRef__name="gone"),
        ray_job(deployment="Running"),
    ],
    "a success that keeps nothing": [
        job(started(attempt()), ttlSecondsAfterFinished=60),
        ray_job(deployment="Running"),
        report(finished=succeeded()),
    ],
    "a finished job that keeps nothing": [
        job(finished("Failed", attempt(ended=0), ended=0), ttlSecondsAfterFinished=60),
        ray_job(deployment="Complete"),
    ],
    "a success whose cluster does not end": [
        job(finished("Succeeded", attempt(ended=0), ended=0)),
        ray_job(deployment="Running"),
    ],
    "a third failure": [job(started(*(attempt(number, ended=0) for number in (1, 2))))],
    "a RayJob that may yet be served": [job(started(attempt()))],
}


def _decides(shown: list[Any], now: float) -> tuple[Any, ...]:
    decided = plan(*shown, now=now)
    ended = [one.completion_time is not None for one in decided.status.attempts]
    return decided.status.phase, decided.status.reason, ended, decided.delete, decided.create is None


@pytest.mark.parametrize("shown", WAITS.values(), ids=WAITS)
def test_time_alone_changes_nothing_before_the_moment_that_a_plan_named(shown: list[Any]) -> None:
    named = plan(*shown, now=1).again_after
    for later in (2, 5, 9, 10, 30, 60, 100, 121, 200, 300, 1000, 5000):
        if named is None or later < 1 + named:
            assert _decides(shown, later) == _decides(shown, 1), f"after {later} s"


@pytest.mark.parametrize("shown", WAITS.values(), ids=WAITS)
def test_the_plan_that_writes_a_status_names_the_moment_that_the_next_one_would(shown: list[Any]) -> None:
    """Nobody looks again because of a write of our own."""
    first = plan(*shown, now=1)
    if first.create is None and not first.delete:
        second = plan({**shown[0], "status": first.status.to_dict()}, *shown[1:], now=1)
        assert (first.again_after or 9999) <= (second.again_after or 9999)


def test_a_job_that_succeeded_keeps_its_cluster_for_a_while_and_no_longer() -> None:
    over = job(finished("Succeeded", attempt(ended=100), ended=100))
    running = ray_job(deployment="Running")
    assert plan(over, running, now=100).delete == ()
    assert plan(over, running, now=100).again_after == 120
    assert [ref.name for ref in plan(over, running, now=220).delete] == [name_of(1)]


@pytest.mark.parametrize("reason", ["DeadlineExceeded", "ImagePullFailed", "SecretMissing", "Preempted"])
def test_hardware_that_nobody_would_free_is_freed_at_once(reason: str) -> None:
    over = job(finished("Failed", attempt(ended=100, reason=reason), ended=100))
    assert [ref.name for ref in plan(over, ray_job(deployment="Running"), now=100).delete] == [name_of(1)]


def test_a_trainer_that_said_why_it_failed_has_a_moment_to_end_and_its_log_to_be_read() -> None:
    over = job(finished("Failed", attempt(ended=100, reason="InvalidData"), ended=100))
    waits = plan(over, ray_job(deployment="Running"), now=100)
    assert (waits.delete, waits.again_after) == ((), 120)
    assert [ref.name for ref in plan(over, ray_job(deployment="Running"), now=220).delete] == [name_of(1)]


@pytest.mark.parametrize("kind", ["Succeeded", "Failed"])
def test_a_cluster_that_ended_by_itself_stays_for_its_logs(kind: str) -> None:
    over = job(finished(kind, attempt(ended=100), ended=100))
    assert plan(over, ray_job(deployment="Complete"), now=10_000).delete == ()


def test_after_its_time_all_that_the_job_made_goes_and_the_job_and_what_others_use_stay() -> None:
    cluster = SimulatedCluster(ttlSecondsAfterFinished=500)
    shared = report_text("")
    shared["metadata"] |= {"name": "shared", "uid": "shared", "labels": dict(MANAGED)}
    cluster.put(shared)
    cluster.after(*SUCCEEDS)
    kinds = {kind for kind, _ in cluster.names}
    assert kinds == {"FineTuneJob", "FineTuneProfile", "ServiceAccount", "NetworkPolicy", "ConfigMap"}
    assert [thing["metadata"]["name"] for thing in cluster.of("ConfigMap")] == ["shared"]


def test_an_end_is_said_of_the_newest_generation_in_each_condition_too() -> None:
    over = finished("Succeeded", attempt(ended=100), ended=100)
    edited = plan(job(over, metadata={"generation": 7}, ttlSecondsAfterFinished=9_000), now=200).status
    assert edited.observed_generation == 7
    assert {condition.observed_generation for condition in edited.conditions} == {7}, "`kubectl wait` reads these"


def test_the_time_to_live_may_come_after_the_end() -> None:
    over = finished("Succeeded", attempt(ended=100), ended=100)
    assert plan(job(over), ray_job(deployment="Complete"), now=500).again_after is None
    soon = plan(job(over, ttlSecondsAfterFinished=1000), ray_job(deployment="Complete"), now=500)
    assert (soon.delete, soon.again_after) == ((), 600)
    due = plan(job(over, ttlSecondsAfterFinished=400), ray_job(deployment="Complete"), now=500)
    assert [ref.name for ref in due.delete] == [name_of(1)]


def test_a_finished_job_stays_finished_whatever_is_seen() -> None:
    over = finished("Succeeded", attempt(ended=100), ended=100)
    shown = plan(job(over, suspend=True), ray_job(deployment="Failed"), report(finished=failed("Unknown")), now=150)
    assert (shown.status.phase, shown.create, shown.apply) == ("Succeeded", None, ())


@pytest.mark.parametrize("kind", ["Succeeded", "Failed"])
def test_a_finished_job_stays_finished_though_its_spec_cannot_be_read(kind: ConditionType) -> None:
    over = finished(kind, attempt(ended=100), ended=100)
    unread = job(over, spec__unknown=1, ttlSecondsAfterFinished=0)
    shown = plan(unread, ray_job(deployment="Complete"), now=10_000)
    assert (shown.status.phase, shown.create, shown.delete) == (kind, None, ())
    assert holds(shown.status, kind)
    again = plan(job(shown.status.to_dict()), now=20_000)
    assert (again.status.phase, again.create, len(again.status.attempts)) == (kind, None, 1)


def test_what_a_finished_job_still_holds_is_freed_though_its_spec_cannot_be_read() -> None:
    over = job(finished("Failed", attempt(ended=100, reason="DeadlineExceeded"), ended=100), spec__unknown=1)
    assert [ref.name for ref in plan(over, ray_job(deployment="Running"), now=100).delete] == [name_of(1)]


def test_every_object_is_named_and_labelled_for_the_job() -> None:
    begun = plan(job())
    assert begun.create is not None
    for thing in (*begun.apply, begun.create):
        metadata = thing["metadata"]
        assert metadata["namespace"] == NAMESPACE
        assert metadata["labels"][MANAGED_BY] == PRODUCT
        if names.JOB in metadata["labels"]:
            assert (metadata["labels"][names.JOB], metadata["labels"][names.JOB_UID]) == (JOB, UID)


def test_a_success_gives_its_hardware_back_at_once_and_says_so_when_it_has() -> None:
    """N10"""
    cluster = ray_cluster()
    ended = ray_job(1, "Complete", ended=0, jobStatus="SUCCEEDED", rayClusterName=cluster["metadata"]["name"])
    over = plan(job(started(attempt(runningTime=at(0)))), ended, cluster, report(finished=succeeded()), now=5)
    assert [(ref.kind.name, ref.name) for ref in over.delete] == [("RayCluster", cluster["metadata"]["name"])]
    assert holds(over.status, "Admitted"), "it has not given anything back yet"
    going = {**cluster, "metadata": {**cluster["metadata"], "deletionTimestamp": at(5)}}
    assert plan(job(over.status.to_dict()), ended, going, now=6).delete == ()
    gone = plan(job(over.status.to_dict()), ended, now=7).status
    assert (holds(gone, "Admitted"), gone.phase, gone.completion_time) == (False, "Succeeded", at(5))
    admitted = next(each for each in gone.conditions if each.type == "Admitted")
    assert admitted.last_transition_time == at(7)
    assert plan(job(gone.to_dict()), ended, now=8).status == gone


def test_the_pods_of_a_failure_stay_for_a_minute_and_those_of_a_success_until_ray_is_done() -> None:
    """N10: their logs are all that is left to read."""
    cluster = ray_cluster()
    name = cluster["metadata"]["name"]
    status = started(attempt(runningTime=at(0)))
    failure = [ray_job(1, "Failed", ended=0, rayClusterName=name), report(finished=failed(Reason.INVALID_DATA))]
    assert plan(job(status), *failure, cluster, now=5).delete == ()
    success = [ray_job(1, "Running", rayClusterName=name), report(finished=succeeded()), pod("head", phase="Running")]
    assert plan(job(status), *success, cluster, now=5).delete == ()
