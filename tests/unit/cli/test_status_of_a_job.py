"""`kubetune status`: what it shows of jobs, and how it follows one to its end."""

import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from kubetune_cli.jobs import ClusterError, Job, NoSuchJobError, UnreachableError
from kubetune_cli.status import follow, show_all, show_one
from support.fake_cli_cluster import ENDED, FakeCluster, artifact, attempt, failed, job, running, succeeded

HOSTILE = "\x1b]0;pwned\x07\x1b[31m[bold]red[/nothing] row"
OUTAGE = UnreachableError("The cluster does not answer.")


def no_pause() -> None:
    """Nothing here takes time."""


def shown(command: Any, cluster: FakeCluster, *arguments: Any, terminal: bool = False, **options: Any) -> str:
    out = StringIO()
    command(cluster, *arguments, Console(file=out, width=160, force_terminal=terminal), **options)
    return out.getvalue()


def followed(cluster: FakeCluster, *, terminal: bool = False) -> tuple[int, str]:
    out = StringIO()
    console = Console(file=out, width=160, force_terminal=terminal)
    return follow(cluster, "reviews", console, no_pause, as_json=False), out.getvalue()


def test_a_table_shows_where_each_job_is() -> None:
    others = [
        job(
            "done",
            phase="Succeeded",
            primaryMetric={"name": "test/accuracy", "value": 0.8141},
            workers=2,
            readyWorkers=2,
        ),
        job("words", phase="Succeeded", primaryMetric={"name": "test/perplexity", "value": 12.5}),
    ]
    lines = shown(show_all, FakeCluster([running()], others), everywhere=False, as_json=False).splitlines()
    assert lines[0].split() == [
        "NAME", "PHASE", "STEP", "LOSS", "METRIC", "WORKERS", "ATTEMPT", "AGE", "MESSAGE",
    ]  # fmt: skip
    assert lines[1].split()[:5] == ["done", "Succeeded", "accuracy", "0.8141", "2/2"]
    assert "perplexity 12.50" in lines[2]
    assert lines[3].split()[:5] == ["reviews", "Running", "3/9", "0.2500", "1"]
    assert lines[3].endswith("Training with 2 workers.")


def test_all_namespaces_get_a_column() -> None:
    cluster = FakeCluster(others=[job(namespace="team-b", phase="Pending")])
    assert (
        shown(show_all, cluster, everywhere=False, as_json=False) == "There are no FineTuneJobs in namespace team-a.\n"
    )
    assert "team-b" in shown(show_all, cluster, everywhere=True, as_json=False)
    assert "in the cluster" in shown(show_all, FakeCluster(), everywhere=True, as_json=False)


def test_a_running_job_shows_its_progress() -> None:
    text = shown(show_one, FakeCluster([running()]), "reviews", as_json=False)
    assert "reviews in team-a: Running (Training)" in text
    assert "  Training with 2 workers." in text
    assert "step 3/9 " in text
    assert "epoch 0.33  loss 0.2500  1,234 tokens/s  1:15 left" in text


def test_a_job_shows_its_last_checkpoint_and_why_later_ones_are_missing() -> None:
    known = {"step": 1200, "resumedStep": 400, "failures": 2, "message": "the checkpoint of step 1,250 was not saved"}
    found = job(phase="Running", reason="Training", message="Training.", checkpoint=known)
    text = shown(show_one, FakeCluster([found]), "reviews", as_json=False)
    assert "checkpoint  step 1,200, went on behind step 400, 2 saves failed since then: the checkpoint" in text
    assert "checkpoint" not in shown(show_one, FakeCluster([running()]), "reviews", as_json=False)
    published = succeeded(checkpoint=known, artifact=artifact())
    assert "checkpoint" not in shown(show_one, FakeCluster([published]), "reviews", as_json=False)


def test_an_ended_job_has_no_time_left() -> None:
    progress = {"step": 9, "totalSteps": 9, "epoch": 1.0, "secondsLeft": 3.0}
    text = shown(show_one, FakeCluster([succeeded(progress=progress)]), "reviews", as_json=False)
    assert "step 9/9" in text
    assert "left" not in text


def test_each_attempt_tells_why_it_ended_and_what_was_seen() -> None:
    text = shown(show_one, FakeCluster([failed()]), "reviews", as_json=False)
    assert "NodeLost, which does not count" in text
    assert "OutOfMemory\n" in text
    assert "    The node was lost." in text
    assert text.count("A worker ran out of memory.") == 1, "the status has said so already"
    assert "    - exit 137" in text


def test_conditions_metrics_and_the_result_are_all_there() -> None:
    condition = {
        "type": "Succeeded",
        "status": "True",
        "reason": "R",
        "message": "It did.",
        "lastTransitionTime": ENDED,
    }
    found = succeeded(
        conditions=[condition], metrics=[{"name": "test/loss", "value": 0.5}], artifact=artifact(rejected=True)
    )
    text = shown(show_one, FakeCluster([found]), "reviews", as_json=False)
    assert [word for word in ("conditions", "attempts", "metrics", "result") if f"\n{word}\n" not in text] == []
    assert "It did." in text
    assert "test/loss  0.5000" in text
    assert "report    s3://models/report.html" in text
    assert "rejected: it missed a requirement" in text


def test_one_sentence_is_shown_once_however_many_conditions_have_it() -> None:
    said = "spec.training.epoch is not a field; did you mean epochs?"
    conditions = [
        {"type": name, "status": "True", "reason": "InvalidManifest", "message": said, "lastTransitionTime": ENDED}
        for name in ("Failed", "Stalled")
    ]
    other = {**conditions[0], "type": "Ready", "message": "The job has failed."}
    found = job(phase="Failed", reason="InvalidManifest", message=said, conditions=[*conditions, other])
    text = shown(show_one, FakeCluster([found]), "reviews", as_json=False)
    assert text.count(said) == 1
    assert "The job has failed." in text


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(failed(), "help  the author acts; see docs/troubleshooting.md#outofmemory", id="a failure"),
        pytest.param(
            job(phase="Pending", reason="WaitingForNodes", message="No node."),
            "help  the platform team acts; see docs/troubleshooting.md#waitingfornodes",
            id="a wait for the platform team",
        ),
        pytest.param(
            job(phase="Pending", reason="WaitingForQuota", message="It waits."),
            "help  see docs/troubleshooting.md#waitingforquota",
            id="a wait for nobody",
        ),
        pytest.param(running(), "", id="a job that trains needs none"),
        pytest.param(succeeded(), "", id="nor does one that is done"),
        pytest.param(job(phase="Failed", reason="NewReason", message="?"), "", id="a reason of a newer operator"),
    ],
)
def test_the_status_says_who_acts_and_where_the_reason_is_explained(found: Job, said: str) -> None:
    text = shown(show_one, FakeCluster([found]), "reviews", as_json=False)
    assert said in text
    assert bool(said) == ("help" in text)


def test_a_job_that_no_operator_saw_says_so() -> None:
    assert "check that kubetune's operator runs" in shown(show_one, FakeCluster([job()]), "reviews", as_json=False)


def test_no_text_of_a_tenant_reaches_the_terminal_as_more_than_text() -> None:
    condition = {
        "type": "Failed",
        "status": "True",
        "reason": HOSTILE,
        "message": HOSTILE,
        "lastTransitionTime": HOSTILE,
    }
    hostile = attempt(1, completionTime=HOSTILE, reason=HOSTILE, message=HOSTILE, evidence=[HOSTILE])
    found = job(
        phase="Failed", reason=HOSTILE, message=HOSTILE, run=HOSTILE, startTime=HOSTILE,
        attempts=[hostile], conditions=[condition], metrics=[{"name": HOSTILE, "value": 1.0}],
        artifact=artifact(uri=HOSTILE, reportUri=HOSTILE, manifestUri=HOSTILE),
    )  # fmt: skip
    cluster = FakeCluster([found])
    texts = [
        shown(show_one, cluster, "reviews", as_json=False),
        shown(show_all, cluster, everywhere=True, as_json=False),
        followed(cluster)[1],
    ]
    assert all("\x1b" not in text and "\x07" not in text for text in texts)
    assert all("[bold]red[/nothing] row" in text for text in texts)


def test_json_is_the_status_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(show_one, FakeCluster([running()]), "reviews", as_json=True) == ""
    assert json.loads(capsys.readouterr().out) == running().raw_status
    shown(show_all, FakeCluster([running()]), everywhere=False, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["status"] == running().raw_status


def test_json_holds_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    shown(show_one, FakeCluster([job(phase="Failed", message=f"{HOSTILE}\x9b2J")]), "reviews", as_json=True)
    assert capsys.readouterr().out.isascii()


@pytest.mark.parametrize(
    ("end", "code"), [pytest.param(succeeded(), 0, id="succeeded"), pytest.param(failed(), 1, id="failed")]
)
@pytest.mark.parametrize("terminal", [pytest.param(True, id="terminal"), pytest.param(False, id="pipe")])
def test_following_ends_with_the_job(end: Job, code: int, terminal: bool) -> None:
    found, text = followed(FakeCluster([running()], watches=[[running(4), end]]), terminal=terminal)
    assert found == code
    assert str(end.status.message) in text


def test_a_job_that_has_ended_already_is_not_watched() -> None:
    assert followed(FakeCluster([succeeded()], watches=[[OUTAGE]]))[0] == 0


def test_a_pipe_gets_a_line_for_each_change_and_the_whole_at_the_end() -> None:
    waiting = job(phase="Pending", reason="WaitingForPods", message="0 of 2 workers are ready.")
    _, text = followed(FakeCluster([waiting], watches=[[running(3), running(4), succeeded()]]))
    assert text.splitlines()[:3] == [
        "reviews: Pending (WaitingForPods): 0 of 2 workers are ready.",
        "reviews: Running (Training): Training with 2 workers.  step 3/9  "
        "epoch 0.33  loss 0.2500  1,234 tokens/s  1:15 left",
        "reviews: Succeeded (ModelPublished): Published.",
    ]
    assert "attempts" in text


def test_a_watch_that_breaks_or_ends_is_taken_up_again_and_told() -> None:
    cluster = FakeCluster(
        [running(), running(), OUTAGE, running(5), running(5)], watches=[[running(4), OUTAGE], [], [], [succeeded()]]
    )
    code, text = followed(cluster)
    assert code == 0
    assert text.count("The cluster does not answer.") == 2
    assert cluster.watches == []


def test_what_happened_between_two_watches_is_not_missed() -> None:
    code, _ = followed(FakeCluster([running(), succeeded()], watches=[[], [OUTAGE]]))
    assert code == 0


def test_a_cluster_that_refuses_is_not_asked_again() -> None:
    with pytest.raises(ClusterError, match="forbidden"):
        followed(FakeCluster([running()], watches=[[ClusterError("forbidden")]]))


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(NoSuchJobError("gone"), id="deleted"),
        pytest.param(job(uid="uid-2", phase="Running"), id="deleted and created anew"),
    ],
)
def test_a_job_that_is_deleted_ends_the_following(later: Job | ClusterError) -> None:
    with pytest.raises(NoSuchJobError, match="The FineTuneJob reviews in namespace team-a was deleted"):
        followed(FakeCluster([running(), later]))


@pytest.mark.parametrize(
    ("others", "listable", "hint"),
    [
        pytest.param([job("review", phase="Running")], True, "perhaps `review` is meant", id="a name much like it"),
        pytest.param([job("other", phase="Running")], True, "kubetune status lists", id="other names only"),
        pytest.param([], True, "that has none", id="no job at all"),
        pytest.param([], False, "check the name", id="no right to list"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_the_one_that_was_meant(
    others: list[Job], listable: bool, hint: str
) -> None:
    with pytest.raises(NoSuchJobError, match="There is no FineTuneJob reviews in namespace team-a; ") as raised:
        shown(show_one, FakeCluster(others=others, listable=listable), "reviews", as_json=False)
    assert hint in str(raised.value)


def test_a_status_of_a_later_version_says_what_to_do() -> None:
    with pytest.raises(ClusterError, match=r"The status of reviews cannot be read: workers.*install the kubetune"):
        job(workers="all of them")


def test_a_phase_of_a_later_version_is_shown() -> None:
    assert "Levitating" in shown(show_one, FakeCluster([job(phase="Levitating")]), "reviews", as_json=False)


def test_what_the_run_read_is_a_part_of_its_status() -> None:
    data = {
        "rowsRead": 100,
        "splits": [{"name": "train", "rows": 80, "tokens": 800, "truncated": 3}],
        "cleaning": [{"name": "noTarget", "rows": 20, "dropped": True}],
        "labelCount": 2,
        "labels": [{"name": "pos", "rows": 79}, {"name": "label", "rows": 1}],
    }
    text = shown(show_one, FakeCluster([succeeded(data=data)]), "reviews", as_json=False)
    assert [line.strip().split(maxsplit=1) for line in text.partition("data\n")[2].splitlines()[:4]] == [
        ["rows", "100 read, 80 used: train 80"],
        ["dropped", "20 noTarget"],
        ["cut", "3 of 80 rows, at task.maxLength or the longest that the model takes"],
        ["labels", "'pos' 79, 'label' 1"],
    ]
