"""`kubetune status` as a person calls it, against a real API server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.kube import ApiServer
from support.cli_on_api_server import ENDED, STARTED, Running, Team
from support.fake_cli_cluster import artifact, attempt

RUNNING = {
    "phase": "Running",
    "reason": "Training",
    "message": "Training on 10,834 rows with 2 workers.",
    "workers": 2,
    "readyWorkers": 2,
    "startTime": STARTED,
    "progress": {"step": 120, "totalSteps": 339, "epoch": 0.354, "loss": 0.4831, "secondsLeft": 731},
    "attempts": [
        attempt(
            1, completionTime=ENDED, reason="NodeLost", message="The node was lost.", evidence=["node-7"], exempt=True
        ),
        attempt(2),
    ],
}
SUCCEEDED = {
    **RUNNING,
    "phase": "Succeeded",
    "reason": "ModelPublished",
    "message": "The model was published.",
    "completionTime": ENDED,
    "metrics": [{"name": "test/accuracy", "value": 0.8141}],
    "artifact": artifact(),
}
FAILED = {"phase": "Failed", "reason": "InvalidData", "message": "\x1b[31mrow 7\x1b]0;x\x07 has no label."}


@pytest.fixture
def watching(team: Team) -> Iterator[Running]:
    """`kubetune status --watch` of a job that waits."""
    team.create(status={"phase": "Pending", "reason": "WaitingForPods", "message": "0 of 2 workers are ready."})
    running = team.start("status", "reviews", "--watch")
    try:
        running.wait_for("0 of 2 workers are ready.")
        yield running
    finally:
        running.kill()


def test_the_table_lists_the_jobs_of_the_contexts_namespace(team: Team) -> None:
    team.create("fresh")
    team.create("reviews", RUNNING)
    team.create("words", FAILED)
    done = team.call("status")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0][:3] == ["NAME", "PHASE", "STEP"]
    assert [row[:2] for row in rows[1:]] == [["fresh", "Unseen"], ["reviews", "Running"], ["words", "Failed"]]
    assert rows[2][2:6] == ["120/339", "0.4831", "2/2", "2"]
    assert "\x1b" not in done.stdout
    everywhere = team.call("status", "-A")
    assert [team.namespace, "reviews"] in [line.split()[:2] for line in everywhere.stdout.splitlines()]


def test_one_job_is_shown_whole_and_as_json(team: Team) -> None:
    team.create(status=SUCCEEDED)
    done = team.call("status", "reviews")
    assert done.returncode == 0, done.stderr
    for part in ("ModelPublished", "NodeLost, which does not count", "- node-7", "test/accuracy  0.8141"):
        assert part in done.stdout
    as_json = team.call("status", "reviews", "--json", "-n", team.namespace, "--context", "tests")
    assert (
        json.loads(as_json.stdout)
        == team.server.get(f"/apis/kubetune.dev/v1alpha1/namespaces/{team.namespace}/finetunejobs/reviews").body[
            "status"
        ]
    )


def test_a_name_that_is_not_there_is_told_with_the_one_that_was_meant(team: Team) -> None:
    team.create()
    done = team.call("status", "reveiws")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"There is no FineTuneJob reveiws in namespace {team.namespace}; perhaps `reviews` is meant." in done.stderr


def test_watching_goes_on_over_a_restart_of_the_api_server_and_ends_with_0(team: Team, watching: Running) -> None:
    team.say("reviews", RUNNING)
    watching.wait_for("step 120/339")
    team.server.kube_apiserver.kill()
    watching.wait_for("The cluster at https://127.0.0.1")
    team.server.kube_apiserver.start()
    team.say("reviews", SUCCEEDED)
    assert watching.end() == 0
    assert "reviews: Succeeded (ModelPublished): The model was published." in "".join(watching.out)


def test_watching_a_job_that_fails_ends_with_1(team: Team, watching: Running) -> None:
    team.say("reviews", FAILED)
    assert watching.end() == 1
    assert "reviews: Failed (InvalidData): row 7 has no label." in "".join(watching.out)


def test_watching_a_job_that_is_deleted_ends_with_2(team: Team, watching: Running) -> None:
    team.delete("reviews")
    assert watching.end() == 2
    assert "was deleted" in "".join(watching.err)


def test_a_user_without_the_right_reads_which_one_it_is(team: Team) -> None:
    alice = team.server.as_user("alice").kubeconfig(team.folder / "alice", team.namespace)
    for command, right in ((("status",), "list"), (("status", "reviews"), "get"), (("status", "-A"), "list")):
        done = team.call(*command, KUBECONFIG=str(alice))
        where = "in all namespaces" if "-A" in command else f"in namespace {team.namespace}"
        assert done.returncode == 2
        assert f"user alice lacks the permission `{right}` on `finetunejobs.kubetune.dev` {where}" in done.stderr


def test_a_cluster_without_the_crds_says_what_is_missing(tmp_path: Path, team: Team) -> None:
    (tmp_path / "bare").mkdir()
    bare = ApiServer(tmp_path / "bare")
    try:
        bare.start()
        kubeconfig = bare.kubeconfig(tmp_path / "kubeconfig-of-it")
        for command in (("status",), ("status", "reviews"), ("logs", "reviews")):
            done = team.call(*command, KUBECONFIG=str(kubeconfig))
            assert done.returncode == 2
            assert "does not know FineTuneJobs; install kubetune there" in done.stderr
    finally:
        bare.stop()


def test_as_a_plugin_of_kubectl_the_command_shows_that_name(team: Team) -> None:
    team.create(status=RUNNING)
    plugin = team.folder / "kubectl-finetune"
    plugin.write_text("from kubetune_cli.main import main; main()")
    usage = team.call("status", "--help", program=plugin)
    assert "Usage: kubectl finetune status [OPTIONS] [NAME]" in usage.stdout
    done = team.call("status", "reviews", program=plugin)
    assert done.stdout.startswith(f"reviews in {team.namespace}: Running (Training)")
