"""`kubetune logs` as a person calls it: through a real API server, from a simulated kubelet."""

from support.cli_on_api_server import ENDED, Team
from support.fake_cli_cluster import artifact, attempt

PUBLISHING = '{"event": "stage", "text": "Publishing"}'
RUNNING = {"phase": "Running", "message": "Training.", "attempts": [attempt(1)]}
FIRST = attempt(1, completionTime=ENDED, reason="NodeLost", message="The node was lost.", exempt=True)
RETRYING = {"phase": "Pending", "message": "Attempt 2 begins in 10 s.", "attempts": [FIRST]}
SECOND = attempt(2, completionTime=ENDED, reason="ModelPublished", message="The model was published.")
SUCCEEDED = {"phase": "Succeeded", "message": "Published.", "attempts": [FIRST, SECOND], "artifact": artifact()}


def test_the_driver_speaks_by_default_and_other_pods_when_asked(team: Team) -> None:
    team.create(status=RUNNING)
    team.run_pod("submitter", PUBLISHING, "one", "\x1b[36mtwo\x1b[0m", " 1%\r 2%\rthree")
    team.run_pod("head", "I am the head")
    team.run_pod("worker", "I am a worker")
    done = team.call("logs", "reviews", "--verbose")
    assert (done.returncode, done.stdout) == (0, "• Publishing\none\ntwo\nthree\n"), done.stderr
    assert done.stderr.startswith("submitter of attempt 1, pod ")
    assert team.call("logs", "reviews", "-v", "--tail", "1").stdout == "three\n"
    quiet = team.call("logs", "reviews")
    assert quiet.stdout == "• Publishing\n"
    assert quiet.stderr.endswith("3 lines of Ray and other libraries left out; --verbose shows them\n")
    assert team.call("logs", "reviews", "--head").stdout == "I am the head\n"
    assert team.call("logs", "reviews", "--worker", "0", "--attempt", "1").stdout == "I am a worker\n"
    beyond = team.call("logs", "reviews", "--worker", "1")
    assert (beyond.returncode, beyond.stdout) == (1, "")
    assert "Attempt 1 of reviews has no worker pod 1; give --worker 0." in beyond.stderr


def test_a_log_whose_pods_are_gone_says_how_it_ended_and_where_the_report_is(team: Team) -> None:
    team.create(status=SUCCEEDED)
    done = team.call("logs", "reviews")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == (
        f"Attempt 2 of reviews ended at {ENDED}: ModelPublished: The model was published; its pods are gone;"
        " the report is at s3://models/report.html."
    )


def test_following_goes_over_a_cut_connection_and_a_new_attempt_to_the_end_of_the_job(team: Team) -> None:
    team.create(status=RUNNING)
    first = team.run_pod("submitter", "one", "two", cuts=1)
    running = team.start("logs", "reviews", "-f", "-v")
    try:
        running.wait_for("two\n")
        team.logs.containers[first].lines.append("three")
        running.wait_for("three\n")
        team.end_pod(first)
        team.say("reviews", RETRYING)
        running.wait_for("Attempt 2 begins in 10 s.")
        team.remove_pod(first)
        second = team.run_pod("submitter", "four", attempt=2)
        running.wait_for("four\n")
        team.logs.containers[second].lines.append("five")
        team.end_pod(second)
        team.say("reviews", SUCCEEDED)
        assert running.end() == 0
    finally:
        running.kill()
    assert "".join(running.out) == "one\ntwo\nthree\nfour\nfive\n"
    assert "".join(running.err).endswith("reviews: Succeeded: Published.\n")


def test_following_goes_over_a_restart_of_the_api_server(team: Team) -> None:
    team.create(status=RUNNING)
    pod = team.run_pod("submitter", "one")
    running = team.start("logs", "reviews", "-f", "-v")
    try:
        running.wait_for("one\n")
        team.server.kube_apiserver.kill()
        team.logs.containers[pod].lines.append("two")
        running.wait_for("The cluster at https://127.0.0.1")
        team.server.kube_apiserver.start()
        running.wait_for("two\n")
        team.end_pod(pod)
        team.say("reviews", SUCCEEDED)
        assert running.end() == 0
    finally:
        running.kill()
    assert "".join(running.out) == "one\ntwo\n"


def test_a_pod_that_waits_for_its_image_says_so(team: Team) -> None:
    team.create(status=RUNNING)
    name = team.run_pod("submitter")
    team.hold_pod(name, "ImagePullBackOff", "no such image")
    done = team.call("logs", "reviews")
    assert done.returncode == 1
    assert "has not started: ImagePullBackOff: no such image. -f waits for it." in done.stderr
