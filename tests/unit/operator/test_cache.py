import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from kubetune_api.status import FineTuneJobStatus
from kubetune_operator.jobs import names
from kubetune_operator.jobs.observed import Observed, job_view
from kubetune_operator.jobs.reconcile import reconcile
from kubetune_operator.machinery.cache import Cache
from kubetune_operator.machinery.differences import merge_patch
from kubetune_operator.machinery.labels import MANAGED
from kubetune_operator.settings import Settings
from support.observed_jobs import (
    JOB,
    NAMESPACE,
    REPORTS,
    UID,
    Object,
    after,
    artifact,
    attempt,
    cache_of,
    decided,
    finished,
    job,
    job_key,
    jobs_kind,
    name_of,
    namespace,
    observed,
    pod,
    profile,
    progress,
    ray_cluster,
    ray_job,
    report,
    see,
    started,
    succeeded,
)
from support.widgets import Widgets

KEY, OTHER_KEY = job_key(), job_key("other")
OTHER_UID = "99999999-0000-4000-8000-000000000001"


def newer(thing: Object, **changes: Any) -> Object:
    """The object as it is later, with changes of its metadata."""
    later = copy.deepcopy(thing)
    later["metadata"] |= {"resourceVersion": str(int(thing["metadata"]["resourceVersion"]) + 1_000_000)} | changes
    return later


def relabelled(thing: Object, **labels: str) -> Object:
    return newer(thing, labels={**thing["metadata"]["labels"], **labels})


def test_a_job_is_seen_with_everything_of_it_and_nothing_of_others() -> None:
    other = job(metadata={"name": "other", "uid": OTHER_UID})
    seen = see(other, profile(), namespace(team="a"), job(), ray_job(), ray_cluster(), pod(), pod("head"), report())
    assert (seen.job.name, seen.job.uid, seen.job.namespace) == (JOB, UID, NAMESPACE)
    assert [one.name for one in seen.ray_jobs] == [name_of(1)]
    assert [one.attempt for one in seen.ray_clusters] == [1]
    assert [one.role for one in seen.pods] == ["worker", "head"]
    assert seen.report is not None
    assert seen.namespace_labels["team"] == "a"
    assert seen.profile is not None
    assert see(other, job(), pod(), name="other").pods == ()


def test_there_is_nothing_to_see_of_a_job_that_is_not_there() -> None:
    assert jobs_kind().observe(cache_of(), KEY) is None


def test_the_report_is_the_config_maps_whatever_else_has_its_name() -> None:
    """Role and RoleBinding have the same name, and may have been heard of first."""
    role = {**report(), "kind": "Role"}
    role["metadata"] = {**role["metadata"], "uid": "uid-of-the-role"}
    assert see(job(), role, report(execution=3)).report == see(job(), report(execution=3)).report


@pytest.mark.parametrize("thing", [ray_job(), ray_cluster(), pod(), report()], ids=lambda thing: thing["kind"])
def test_what_another_namespace_labels_as_a_jobs_own_is_not_seen(thing: Object) -> None:
    """A label is anyone's to set, and a UID is no secret."""
    forged = newer(thing, namespace="team-b", uid="forged")
    seen = see(job(started(attempt())), forged)
    assert (seen.ray_jobs, seen.ray_clusters, seen.pods, seen.report, dict(seen.existing)) == ((), (), (), None, {})
    assert cache_of(forged).find(thing["kind"], NAMESPACE, thing["metadata"]["name"], UID) is None


@pytest.mark.parametrize(
    ("thing", "touched"),
    [
        pytest.param(job(), {KEY}, id="the job itself"),
        pytest.param(pod(), {KEY}, id="a pod of it"),
        pytest.param(report(), {KEY}, id="its report"),
        pytest.param(profile(), {KEY}, id="its profile"),
        pytest.param(profile("a100"), set(), id="another profile"),
        pytest.param(namespace(team="a"), {KEY}, id="its namespace"),
        pytest.param(namespace("team-b"), set(), id="another namespace"),
    ],
)
def test_a_change_matters_to_the_jobs_that_may_decide_otherwise(thing: Object, touched: set[str]) -> None:
    assert cache_of(job()).put(newer(thing)) == touched


def test_what_the_jobs_of_a_namespace_share_matters_to_all_of_them() -> None:
    shared = {**pod(), "kind": "ServiceAccount"}
    shared["metadata"] = {**shared["metadata"], "labels": dict(MANAGED), "name": names.HEAD_ACCOUNT}
    cache = cache_of(job(), job(metadata={"name": "other", "uid": OTHER_UID}))
    assert cache.put(shared) == cache.gone(shared) == {KEY, OTHER_KEY}


@pytest.mark.parametrize("kind", ["ConfigMap", "Role", "ServiceAccount", "NetworkPolicy", "RayJob"])
def test_what_a_tenant_labels_as_ours_matters_to_no_job_and_is_not_kept(kind: str) -> None:
    """S1, S3: an object of our label that belongs to no job is looked at by none, however often it changes."""
    foreign = {**(ray_job() if kind == "RayJob" else pod()), "kind": kind}
    foreign["metadata"] = {**foreign["metadata"], "labels": dict(MANAGED), "name": "of-a-tenant"}
    cache = cache_of(job())
    assert cache.put(foreign) == cache.put(newer(foreign)) == cache.gone(foreign) == set()
    assert cache.shared(NAMESPACE) == []


def test_an_object_whose_owner_label_is_taken_away_is_its_jobs_no_more() -> None:
    cache = cache_of(job(), report())
    assert cache.put(newer(report(), labels=dict(MANAGED))) == {KEY}
    assert cache.find("ConfigMap", NAMESPACE, REPORTS, UID) is None


@pytest.mark.parametrize(
    ("mine", "shared"),
    [
        pytest.param(job(finished()), namespace(), id="over"),
        pytest.param(job(suspend=True), namespace(), id="suspended"),
        pytest.param(job(started(attempt(ended=9)), suspend=True), profile(), id="suspended after an attempt"),
    ],
)
def test_no_spec_is_kept_of_a_job_at_rest_and_nothing_shared_matters_to_it(mine: Object, shared: Object) -> None:
    """S1, S3: ten thousand such jobs cost neither memory nor looks."""
    cache = cache_of(mine)
    assert cache.subject(KEY).parsed is None
    assert cache.put(shared) == set()


def test_the_spec_of_a_suspended_job_is_kept_until_its_attempt_has_ended() -> None:
    cache = cache_of(job(started(attempt()), suspend=True))
    assert cache.subject(KEY).parsed is not None


def test_profiles_and_namespaces_do_not_matter_to_a_job_that_is_over() -> None:
    end = {"type": "Failed", "status": "True", "reason": "So", "message": "So.", "lastTransitionTime": "2026-05-01"}
    cache = cache_of(job({"conditions": [end]}))
    assert cache.put(profile()) == cache.put(namespace()) == set()


def test_labels_of_a_namespace_that_did_not_change_matter_to_nobody() -> None:
    assert cache_of(job(), namespace(team="a")).put(newer(namespace(team="a"))) == set()


@pytest.mark.parametrize("thing", [pod(), ray_job(), report()], ids=lambda thing: thing["kind"])
def test_an_older_word_never_replaces_a_newer_one(thing: Object) -> None:
    later = newer(thing, deletionTimestamp="2026-05-01T12:00:00Z")
    mine = job()
    cache = cache_of(mine, later)
    assert cache.put(thing) == set()
    assert observed(cache) == observed(cache_of(mine, later))


def test_an_older_word_of_the_job_never_replaces_a_newer_one() -> None:
    old = job()
    cache = cache_of(newer(old, generation=2))
    assert cache.put(old) == set()
    assert observed(cache).job.generation == 2


def test_a_job_that_was_created_anew_is_another_one_whatever_is_still_heard_of_the_old_one() -> None:
    old = job()
    cache = cache_of(old, pod())
    assert cache.put(newer(old, uid=OTHER_UID)) == {KEY}
    assert (observed(cache).job.uid, observed(cache).pods) == (OTHER_UID, ())
    assert cache.put(old) == cache.gone(old) == set()
    cache.forget(KEY, UID)
    assert observed(cache).job.uid == OTHER_UID


@pytest.mark.parametrize("thing", [pod(), ray_job(), ray_cluster(), report()], ids=lambda thing: thing["kind"])
def test_what_is_gone_is_seen_no_more(thing: Object) -> None:
    mine = job()
    cache = cache_of(mine, thing)
    assert cache.gone({"kind": thing["kind"], "metadata": {"uid": thing["metadata"]["uid"]}}) == {KEY}
    assert observed(cache) == observed(cache_of(mine))
    assert cache.gone(thing) == set()


def test_what_only_our_own_write_told_of_is_gone_with_the_first_list_that_does_not_have_it() -> None:
    """It was deleted while the watch was cut: no informer ever knew of it."""
    mine, thing = job(), ray_job()
    cache, version = cache_of(mine, thing), int(thing["metadata"]["resourceVersion"])
    there = {thing["metadata"]["uid"]}
    assert cache.on_list("RayJob", there, version + 1) == cache.on_list("Pod", set(), version + 1) == set()
    assert cache.on_list("RayJob", set(), version - 1) == set(), "a list that is older than the object"
    assert observed(cache).ray_jobs
    assert cache.on_list("RayJob", set(), version) == {KEY}
    assert observed(cache) == observed(cache_of(mine))


def test_the_report_of_a_job_that_does_not_exist_is_not_read() -> None:
    """S1: 128 KiB of each ConfigMap, and anybody may label many."""
    text = "x" * 1000
    cache = cache_of(report(doing=text))
    kept = cache.find("ConfigMap", NAMESPACE, REPORTS, UID)
    assert kept is not None
    assert text not in repr(kept)


def test_a_config_map_of_another_name_is_no_report_whatever_its_labels() -> None:
    """S1"""
    cache = cache_of(job(), {**report(), "metadata": {**report()["metadata"], "name": "any", "uid": "any"}})
    kept = cache.find("ConfigMap", NAMESPACE, "any", UID)
    assert kept is not None
    assert kept.view is None


def test_a_report_that_was_heard_of_before_its_job_is_asked_for_and_counts() -> None:
    """As another replica may hear of them while its watch of the jobs is cut."""
    mine, ended = job(started(attempt())), report(finished=succeeded())
    seen = see(ended, mine)
    assert (seen.report, [question.name for question in seen.unread]) == (None, [REPORTS])
    heard_late = decided(cache_of(ended, profile(), mine, ray_job(1, "Running")), [ended], Settings(), after(60))
    assert heard_late.status.phase == "Succeeded"


def test_what_is_labelled_as_of_a_job_that_does_not_exist_is_forgotten_with_the_next_list_of_jobs() -> None:
    """S1"""
    other = {names.JOB_UID: OTHER_UID, names.JOB: "other"}
    mine, own, foreign = job(), pod(), relabelled(pod(number=1), **other)
    cache, version = cache_of(mine, own, foreign), int(foreign["metadata"]["resourceVersion"])
    cache.on_subjects(KEY.kind, {UID}, version - 1)
    assert cache.find("Pod", NAMESPACE, foreign["metadata"]["name"], OTHER_UID), "its job may be younger than the list"
    cache.on_subjects(KEY.kind, {UID}, version)
    assert cache.find("Pod", NAMESPACE, foreign["metadata"]["name"], OTHER_UID) is None
    assert observed(cache).pods
    assert cache.gone(foreign) == set()


def test_a_job_that_a_list_of_all_jobs_does_not_have_is_forgotten_with_what_it_had() -> None:
    mine, own = job(), pod()
    cache = cache_of(mine, own)
    cache.on_subjects(KEY.kind, set(), int(mine["metadata"]["resourceVersion"]) - 1)
    assert cache.all_keys() == [KEY], "it is younger than the list"
    cache.on_subjects(KEY.kind, set(), int(own["metadata"]["resourceVersion"]))
    assert cache.all_keys() == []
    assert cache.find("Pod", NAMESPACE, own["metadata"]["name"], UID) is None


def test_a_pod_that_takes_another_jobs_label_is_that_jobs_alone() -> None:
    mine, other = pod(), job(metadata={"name": "other", "uid": OTHER_UID})
    cache = cache_of(job(), other, mine)
    taken = relabelled(mine, **{names.JOB_UID: OTHER_UID, names.JOB: "other"})
    assert cache.put(taken) == {KEY, OTHER_KEY}
    assert observed(cache).pods == ()
    cache.gone(taken)
    assert observed(cache, "other").pods == ()


def test_the_profile_that_counts_is_the_one_that_the_job_names() -> None:
    cache = cache_of(job(profileRef__name="a100"), profile(), profile("a100"))
    found = observed(cache).profile
    assert found is not None
    assert found.metadata.name == "a100"
    cache.gone(profile("a100"))
    assert observed(cache).profile is None


def test_a_profile_that_cannot_be_read_says_why_until_it_can() -> None:
    cache = cache_of(job(), profile(scratchSize="much"))
    assert observed(cache).profile is None
    assert observed(cache).profile_error.startswith("spec.scratchSize: ")
    assert cache.put(profile()) == {KEY}
    assert (observed(cache).profile is not None, observed(cache).profile_error) == (True, "")


def test_a_job_that_cannot_be_read_says_why() -> None:
    seen = observed(cache_of(job(training__epochs="three")))
    assert (seen.job.parsed, seen.profile) == (None, None)
    assert seen.job.error.startswith("spec.training.epochs: ")


def test_the_texts_of_config_maps_are_not_kept() -> None:
    cache = cache_of(job(), report(doing="fetches the model"))
    kept = cache.find("ConfigMap", NAMESPACE, REPORTS, UID)
    assert kept is not None
    assert "fetches" not in repr(kept.object)


def test_the_answer_to_our_own_write_counts_at_once() -> None:
    before = job()
    cache = cache_of(before)
    answer = newer({**before, "status": started(attempt())})
    cache.put(answer)
    assert observed(cache).job.status == FineTuneJobStatus.model_validate(started(attempt()))
    assert observed(cache).job.stored_status == started(attempt())


def test_a_job_that_was_found_to_be_gone_is_forgotten() -> None:
    cache = cache_of(job())
    assert (cache.all_keys(), [one.uid for one in cache.subjects(KEY.kind)]) == ([KEY], [UID])
    cache.forget(KEY, UID)
    cache.forget(KEY, UID)
    assert (cache.all_keys(), list(cache.subjects(KEY.kind))) == ([], [])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"status": {}}, id="no status"),
        pytest.param({"status": {"conditions": None, "containerStatuses": None}}, id="nothing in the status"),
        pytest.param({"spec": {}}, id="no volumes"),
        pytest.param({"status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}}, id="no times"),
        pytest.param({"status": {"containerStatuses": [{"name": "worker"}]}}, id="no state"),
    ],
)
def test_a_pod_of_which_little_is_known_is_a_pod(changes: Object) -> None:
    (seen,) = see(job(), {**pod(), **changes}).pods
    assert (seen.attempt, seen.role, seen.ready, seen.waiting, seen.ended) == (1, "worker", False, (), ())


@pytest.mark.parametrize("label", ["", "x", "-1", "1.5", "9" * 63])
def test_a_label_that_is_no_number_of_an_attempt_belongs_to_none(label: str) -> None:
    strange = relabelled(pod(), **{names.ATTEMPT: label})
    assert see(job(), strange).pods_of(1) == ()


def test_a_report_of_success_is_read_once_it_is_heard() -> None:
    seen = see(job(started(attempt())), report(finished=succeeded()))
    assert seen.report_of(1) is not None
    assert seen.report_of(2) is None


def test_a_status_of_a_newer_version_is_neither_acted_on_nor_written_over() -> None:
    newer = {"phase": "Running", "attempts": [{"number": 1, "flavour": "of a later version"}]}
    seen = job_view({**job(), "status": newer})
    assert not seen.readable
    plan = reconcile(Observed(seen), Settings(), datetime(2026, 1, 1, tzinfo=UTC))
    assert merge_patch(seen.stored_status, plan.status.to_dict()) == {}
    assert plan.create is None


def test_the_unfinished_run_of_another_uid_is_not_this_jobs_and_the_next_write_takes_it_away() -> None:
    """As a backup with its status restores it."""
    ran = started(attempt(), progress=progress(), message="It trains.")
    seen = job_view(job(ran, metadata={"uid": OTHER_UID}))
    assert seen.status == FineTuneJobStatus()
    patch = merge_patch(seen.stored_status, FineTuneJobStatus(phase="Suspended").to_dict())
    assert {key for key, value in patch.items() if value is None} >= {"startTime", "run", "progress", "message"}
    assert patch["attempts"] == []


@pytest.mark.parametrize("kind", ["Succeeded", "Failed"])
def test_what_became_of_a_job_that_was_over_is_kept_under_another_uid(kind: str) -> None:
    seen = job_view(job(finished(kind, attempt(ended=1), artifact=artifact()), metadata={"uid": OTHER_UID}))
    assert (seen.status.phase, seen.status.artifact is not None) == (kind, True)


def test_two_kinds_may_share_objects_of_different_names() -> None:
    cache = Cache([jobs_kind(), Widgets()])
    shared = {**pod(), "kind": "ServiceAccount"}
    shared["metadata"] = {**shared["metadata"], "labels": dict(MANAGED), "name": names.HEAD_ACCOUNT}
    cache.put(shared)
    assert [entry.name for entry in cache.shared(NAMESPACE)] == [names.HEAD_ACCOUNT]


def test_a_pod_that_failed_is_seen_until_it_was_looked_at_though_it_is_gone() -> None:
    failed, running = pod(phase="Failed"), pod(number=1, phase="Running")
    cache = cache_of(job(), failed, running)
    assert cache.gone(failed) == cache.gone(running) == {KEY}
    subject = cache.subject(KEY)
    assert [entry.name for entry in cache.owned(subject)] == [failed["metadata"]["name"]]
    seen = cache.lingering(subject)
    assert cache.let_go(subject, seen)
    assert not cache.owned(subject)
    assert not cache.let_go(subject, seen)


def test_little_lingers_of_a_job_and_nothing_once_it_is_gone_too() -> None:
    pods = [pod(number=number, phase="Failed") for number in range(40)]
    cache = cache_of(job(), *pods)
    for one in pods:
        cache.gone(one)
    subject = cache.subject(KEY)
    assert [entry.name for entry in cache.lingering(subject)] == [one["metadata"]["name"] for one in pods[-16:]]
    cache.gone(job())
    assert not cache.lingering(subject)
