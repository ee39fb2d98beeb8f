"""`kubetune logs`: whose log it shows, how it follows, and what it says where there is none."""

import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubetune_cli.jobs import Job, NothingToShowError, Pod, UnreachableError
from kubetune_cli.logs import Reader, Wanted
from support.fake_cli_cluster import (
    ENDED,
    FakeCluster,
    artifact,
    attempt,
    ended,
    failed,
    job,
    lines,
    pod,
    running,
    succeeded,
)

OUTAGE = UnreachableError("The cluster broke the connection; try again.")
SUBMITTER, HEAD, WORKERS = pod(), pod("head"), [pod("worker", number=number) for number in range(2)]


@dataclass
class Reading:
    """What a command wrote, and what it said beside."""

    cluster: FakeCluster
    wanted: Wanted = field(default_factory=lambda: Wanted(verbose=True))
    lines: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    pauses: int = 0

    def show(self) -> "Reading":
        self._reader.show("reviews")
        return self

    def follow(self) -> "Reading":
        self._reader.follow("reviews")
        return self

    @property
    def _reader(self) -> Reader:
        return Reader(self.cluster, self.wanted, self.lines.append, self.told.append, self._pause)

    def _pause(self) -> None:
        self.pauses += 1
        assert self.pauses < 100, "the command waits for ever"


def all_of(**wanted: Any) -> Wanted:
    """A log with every line that is in it."""
    return Wanted(verbose=True, **wanted)


def with_logs(*pods: Pod, state: Job | None = None) -> FakeCluster:
    """A cluster in which each of these pods has written its name."""
    return FakeCluster(
        [state or running()], pods_seen=[list(pods)], logs={found.name: [lines(found.name)] for found in pods}
    )


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        pytest.param(all_of(), SUBMITTER, id="the submitter by default"),
        pytest.param(all_of(role="head"), HEAD, id="the head when asked"),
        pytest.param(all_of(role="worker", worker=1), WORKERS[1], id="the second worker"),
    ],
)
def test_the_log_of_the_wanted_pod_is_shown(wanted: Wanted, chosen: Pod) -> None:
    done = Reading(with_logs(HEAD, *WORKERS, SUBMITTER), wanted).show()
    assert done.lines == [chosen.name]
    assert done.told == [f"{chosen.role} of attempt 1, pod {chosen.name}"]


def test_without_a_submitter_the_head_speaks_unless_the_submitter_was_asked_for() -> None:
    cluster = with_logs(HEAD, *WORKERS)
    assert Reading(cluster).show().lines == [HEAD.name]
    with pytest.raises(NothingToShowError, match="Attempt 1 of reviews has no submitter pod now; -f waits for it"):
        Reading(cluster, all_of(or_head=False)).show()


def test_the_last_attempt_counts_unless_another_is_asked_for() -> None:
    second = pod(attempt=2)
    cluster = with_logs(SUBMITTER, second)
    assert Reading(cluster).show().lines == [second.name]
    assert Reading(cluster, all_of(attempt=1)).show().lines == [SUBMITTER.name]


def test_the_tail_of_a_log_of_plain_lines_is_the_servers_to_cut() -> None:
    cluster = with_logs(HEAD)
    Reading(cluster, all_of(role="head", tail=7)).show()
    assert cluster.asked == [{"pod": HEAD.name, "follow": False, "tail": 7, "since": ""}]


def test_a_log_is_text_and_nothing_else() -> None:
    cluster = FakeCluster([running()], pods_seen=[[SUBMITTER]], logs={SUBMITTER.name: [lines("\x1b[31ma\x1b]0;b\x07")]})
    assert Reading(cluster).show().lines == ["a"]


@pytest.mark.parametrize(
    ("state", "pods", "wanted", "sentence"),
    [
        pytest.param(
            failed(), [], all_of(),
            f"Attempt 2 of reviews ended at {ENDED}: OutOfMemory: A worker ran out of memory; its pods are gone;"
            " there is no report.",
            id="the pods are gone",
        ),
        pytest.param(
            succeeded(artifact=artifact()), [], all_of(),
            f"Attempt 1 of reviews ended at {ENDED}: ModelPublished: The model was published; its pods are gone;"
            " the report is at s3://models/report.html.",
            id="the pods are gone and the report is there",
        ),
        pytest.param(failed(), [], all_of(attempt=1), "Attempt 1 of .* ended at .*: NodeLost", id="an earlier attempt"),
        pytest.param(
            failed(), [pod("head", 2)], all_of(or_head=False), "its submitter pod is gone", id="another pod is there"
        ),
        pytest.param(failed(), [], all_of(attempt=5), "has no attempt 5; the last one is 2", id="no such attempt"),
        pytest.param(
            job(phase="Pending", reason="WaitingForQuota", message="It waits in the queue."), [], all_of(),
            r"reviews has no attempt yet. Pending \(WaitingForQuota\): It waits in the queue.",
            id="nothing has begun",
        ),
        pytest.param(
            running(), WORKERS, all_of(role="worker", worker=2), "no worker pod 2; give --worker 0 to 1", id="too high"
        ),
        pytest.param(
            running(), WORKERS[:1], all_of(role="worker", worker=1), "no worker pod 1; give --worker 0", id="one worker"
        ),
        pytest.param(
            running(), [pod(waits_for="ImagePullBackOff: no such image")], all_of(),
            "has not started: ImagePullBackOff: no such image. -f waits for it.",
            id="a pod that has not started",
        ),
    ],
)  # fmt: skip
def test_where_there_is_no_log_a_sentence_says_why(state: Job, pods: list[Pod], wanted: Wanted, sentence: str) -> None:
    with pytest.raises(NothingToShowError, match=sentence):
        Reading(FakeCluster([state], pods_seen=[pods]), wanted).show()


def test_a_pod_that_goes_while_it_is_asked_is_gone_like_any_other() -> None:
    with pytest.raises(NothingToShowError, match="its pods are gone"):
        Reading(FakeCluster([failed()], pods_seen=[[pod(attempt=2)]])).show()


def test_following_reads_to_the_end_of_the_pod_and_says_how_the_job_ended() -> None:
    cluster = FakeCluster(
        [running(), running(), succeeded()],
        pods_seen=[[SUBMITTER], [SUBMITTER], [ended(SUBMITTER)]],
        logs={SUBMITTER.name: [lines("one", "two"), lines("two", "three", minute=1)]},
    )
    done = Reading(cluster).follow()
    assert done.lines == ["one", "two", "two", "three"]
    assert done.told[-1] == "reviews: Succeeded (ModelPublished): Published."
    assert [asked["since"] for asked in cluster.asked] == ["", "2026-01-01T00:00:01.5Z"]


def test_following_from_the_tail_shows_the_end_of_what_is_there_and_all_that_comes() -> None:
    there = lines("one", "two", "three")
    cluster = FakeCluster(
        [succeeded()],
        pods_seen=[[ended(SUBMITTER)]],
        logs={SUBMITTER.name: [there, [*there, *lines("four", minute=1)]]},
    )
    assert Reading(cluster, all_of(tail=2)).follow().lines == ["two", "three", "four"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke() -> None:
    whole = lines("one", "two", "three")
    cluster = FakeCluster(
        [running(), running(), succeeded()],
        pods_seen=[[SUBMITTER], [SUBMITTER], OUTAGE, [ended(SUBMITTER)]],
        logs={SUBMITTER.name: [[*whole[:2], OUTAGE], whole]},
    )
    done = Reading(cluster).follow()
    assert done.lines == ["one", "two", "three"]
    assert done.told.count(str(OUTAGE)) == 2


def test_lines_of_the_same_moment_are_all_shown() -> None:
    same = lines("one") + lines("two")
    cluster = FakeCluster([succeeded()], pods_seen=[[ended(SUBMITTER)]], logs={SUBMITTER.name: [same]})
    assert Reading(cluster).follow().lines == ["one", "two"]


def test_what_a_pod_wrote_last_is_read_though_the_connection_broke_before() -> None:
    cluster = FakeCluster(
        [running(), succeeded()],
        pods_seen=[[ended(SUBMITTER)]],
        logs={SUBMITTER.name: [[*lines("one"), OUTAGE], lines("one", "two")]},
    )
    # A stream that broke is no end, whatever became of the pod.
    assert Reading(cluster).follow().lines == ["one", "two"]


def test_following_goes_on_with_the_next_attempt() -> None:
    second = pod(attempt=2)
    retrying = job(phase="Pending", reason="WaitingToRetry", message="Attempt 2 begins in 10 s.", attempts=[attempt(1)])
    cluster = FakeCluster(
        [running(), running(), retrying, running(), failed()],
        pods_seen=[[SUBMITTER], [ended(SUBMITTER)], [], [SUBMITTER, second], [ended(second)]],
        logs={SUBMITTER.name: [lines("first")], second.name: [lines("second", minute=5)]},
    )
    done = Reading(cluster).follow()
    assert done.lines == ["first", "second"]
    assert any("Attempt 2 begins in 10 s." in told for told in done.told)


def test_an_earlier_attempt_that_lingers_is_not_followed_after_a_later_one() -> None:
    second = pod(attempt=2)
    cluster = FakeCluster(
        [running(), running(), running(), failed()],
        pods_seen=[[second], [ended(second)], [SUBMITTER]],
        logs={SUBMITTER.name: [lines("first")], second.name: [lines("second")]},
    )
    assert Reading(cluster).follow().lines == ["second"]


def test_following_waits_for_a_pod_that_has_not_started_and_says_once_what_for() -> None:
    waiting = pod(waits_for="ContainerCreating")
    cluster = FakeCluster(
        [running(), running(), running(), running(), running(), succeeded()],
        pods_seen=[[HEAD], [HEAD, waiting], [HEAD, waiting], [HEAD, SUBMITTER], [ended(SUBMITTER)]],
        logs={SUBMITTER.name: [lines("one")], HEAD.name: [lines("not this")]},
    )
    done = Reading(cluster).follow()
    assert done.lines == ["one"]
    assert sum("has not started: ContainerCreating" in told for told in done.told) == 1


def test_following_one_attempt_ends_with_it() -> None:
    first = attempt(1, completionTime=ENDED, reason="NodeLost", message="The node was lost.")
    going_on = job(phase="Running", attempts=[first, attempt(2)])
    cluster = FakeCluster([going_on], pods_seen=[[ended(SUBMITTER)]], logs={SUBMITTER.name: [lines("one")]})
    assert Reading(cluster, all_of(attempt=1)).follow().lines == ["one"]


def test_following_an_ended_job_without_pods_says_why_there_is_nothing() -> None:
    with pytest.raises(NothingToShowError, match=re.escape("its pods are gone")):
        Reading(FakeCluster([failed()])).follow()


def test_a_pod_that_is_deleted_ends_its_part_of_the_following() -> None:
    cluster = FakeCluster([running(), running(), failed()], pods_seen=[[SUBMITTER], [SUBMITTER], []])
    done = Reading(cluster).follow()
    assert done.lines == []
    assert done.told[-1].startswith("reviews: Failed")
