"""The doorway to a cluster: which one it is, and what each refusal is called, against a server that answers as told."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from kubetune_api.labels import ATTEMPT, JOB, JOB_UID, ROLE
from kubetune_cli.api_server import connect
from kubetune_cli.jobs import ClusterError, Pod, UnreachableError, find
from kubetune_cli.main import app, called_by
from kubetune_operator.jobs import names
from servers.processes import free_port
from servers.scripted import ScriptedServer

Configure = Callable[..., Path]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Writes a kubeconfig with one context, `tests`, for a server, and makes it the one that counts."""

    def write(server: str, **edits: Any) -> Path:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "a-token"}}],
            "contexts": [{"name": "tests", "context": {"cluster": "c", "user": "u", "namespace": "team-a"}}],
            "current-context": "tests",
            **edits,
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(path))
        return path

    return write


FORBIDDEN = (
    '{"kind": "Status", "message": "finetunejobs.kubetune.dev \\"reviews\\" is forbidden: User \\"alice\\" cannot get'
    ' resource \\"finetunejobs\\" in API group \\"kubetune.dev\\" in the namespace \\"team-a\\""}'
)


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        pytest.param(401, "{}", "does not accept your credentials (401); log in again", id="unknown user"),
        pytest.param(
            403, FORBIDDEN, "user alice lacks the permission `get` on `finetunejobs.kubetune.dev` in namespace team-a",
            id="forbidden",
        ),
        pytest.param(403, "no", "your user lacks the permission", id="forbidden by something in between"),
        pytest.param(404, "404 page not found", "does not know FineTuneJobs; install kubetune there", id="no CRDs"),
        pytest.param(400, '{"message": "an error"}', "answered 400: an error", id="a request that is wrong"),
        pytest.param(500, '{"message": "etcd is down"}', "answered 500: etcd is down; try again", id="an error inside"),
        pytest.param(502, "<html>", "answered 502: <html>; try again", id="an error in between"),
        pytest.param(200, "<html>log in</html>", "is not an API server; correct the kubeconfig", id="another server"),
    ],
)  # fmt: skip
def test_each_refusal_is_a_sentence(configure: Configure, status: int, body: str, sentence: str) -> None:
    with ScriptedServer(status, body) as server:
        configure(server.endpoint)
        with pytest.raises(ClusterError) as raised:
            find(connect(), "reviews")
    assert sentence in str(raised.value)


def test_a_server_that_is_not_there_is_named(configure: Configure) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    configure(url)
    with pytest.raises(UnreachableError, match=f"The cluster at {url} cannot be reached"):
        connect().jobs()


def test_a_server_without_tls_is_not_taken_for_the_cluster(configure: Configure) -> None:
    with ScriptedServer(200, "{}") as server:
        configure(server.endpoint.replace("http://", "https://"))
        with pytest.raises(UnreachableError, match="cannot be reached securely"):
            connect().jobs()


def test_the_namespace_is_the_one_given_then_the_contexts_then_default(configure: Configure) -> None:
    configure("http://127.0.0.1:1")
    assert connect().namespace == "team-a"
    assert connect(namespace="team-b").namespace == "team-b"
    configure("http://127.0.0.1:1", contexts=[{"name": "tests", "context": {"cluster": "c", "user": "u"}}])
    assert connect().namespace == "default"


def test_a_name_or_namespace_is_no_path(configure: Configure) -> None:
    with ScriptedServer(404, '{"message": "not found"}') as server:
        configure(server.endpoint)
        with pytest.raises(ClusterError):
            connect(namespace="a/../b").job("../../secrets/x")
    jobs = "/apis/kubetune.dev/v1alpha1/namespaces/a%2F..%2Fb/finetunejobs"
    assert server.requests == [f"GET {jobs}/..%2F..%2Fsecrets%2Fx"]


def test_a_context_that_is_not_there_is_told_with_the_one_that_was_meant(configure: Configure) -> None:
    configure("http://127.0.0.1:1")
    with pytest.raises(ClusterError, match="no context test; perhaps `tests` is meant"):
        connect("test")
    with pytest.raises(ClusterError, match="no context production; it has tests"):
        connect("production")


@pytest.mark.parametrize(
    ("edits", "sentence"),
    [
        pytest.param({"current-context": None}, "current-context", id="no current context"),
        pytest.param({"clusters": None}, "clusters", id="no cluster"),
        pytest.param({"contexts": "text"}, "The kubeconfig cannot be used", id="a text in place of a list"),
    ],
)
def test_a_broken_kubeconfig_is_told(configure: Configure, edits: dict[str, Any], sentence: str) -> None:
    configure("http://127.0.0.1:1", **edits)
    with pytest.raises(ClusterError, match=sentence):
        connect()


def test_a_kubeconfig_that_is_no_yaml_is_told(configure: Configure) -> None:
    configure("http://127.0.0.1:1").write_text("{")
    with pytest.raises(ClusterError, match="The kubeconfig cannot be used"):
        connect()


def test_without_a_kubeconfig_and_outside_a_pod_no_cluster_is_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="No cluster is configured"):
        connect()
    with pytest.raises(ClusterError, match="no kubeconfig to take the context prod from"):
        connect("prod")


def test_the_command_tells_an_error_in_a_sentence_and_ends_with_2(configure: Configure) -> None:
    with ScriptedServer(403, FORBIDDEN) as server:
        configure(server.endpoint)
        for command in (["status"], ["status", "reviews", "--watch"], ["logs", "reviews", "-f"], ["report", "reviews"]):
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 2
            assert result.stdout == ""
            assert result.stderr.startswith("The cluster forbids it: user alice lacks the permission")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        pytest.param(["status", "--watch"], "it follows one job; name it", id="watch without a job"),
        pytest.param(["status", "reviews", "-A"], "a job is in one namespace", id="a job in all namespaces"),
        pytest.param(["logs", "reviews", "--head", "--worker", "1"], "choose one of", id="two pods at once"),
    ],
)
def test_options_that_contradict_each_other_are_refused(command: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert sentence in result.stderr


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/usr/bin/kubetune", "kubetune"),
        ("kubectl-finetune", "kubectl finetune"),
        ("/opt/bin/kubectl-finetune", "kubectl finetune"),
        ("-c", "kubetune"),
        ("/x/kubetune_cli/main.py", "kubetune"),
    ],
)
def test_usage_shows_the_name_that_was_typed(program: str, name: str) -> None:
    assert called_by(program) == name


def test_the_labels_are_those_that_the_operator_writes() -> None:
    assert (JOB, JOB_UID, ATTEMPT, ROLE) == (names.JOB, names.JOB_UID, names.ATTEMPT, names.ROLE)


@pytest.mark.parametrize(
    ("status", "waits_for"),
    [
        pytest.param({"containerStatuses": [{"name": "main", "state": {"running": {}}}]}, None, id="it runs"),
        pytest.param({"containerStatuses": [{"name": "main", "state": {"terminated": {}}}]}, None, id="it ended"),
        pytest.param(
            {
                "containerStatuses": [
                    {"name": "main", "state": {"waiting": {"reason": "Back"}}, "lastState": {"terminated": {}}}
                ]
            },
            None,
            id="it ran before",
        ),
        pytest.param(
            {
                "containerStatuses": [
                    {"name": "main", "state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}
                ]
            },
            "ErrImagePull: no",
            id="its image",
        ),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]},
            "0/3 nodes are available",
            id="a node",
        ),
        pytest.param({}, "it has no node yet", id="nobody knows"),
    ],
)
def test_a_pod_that_has_not_started_says_what_it_waits_for(status: dict[str, Any], waits_for: str | None) -> None:
    found = pod({JOB: "reviews", ATTEMPT: "2", ROLE: "head"}, status)
    assert found is not None
    assert found.waits_for == waits_for


@pytest.mark.parametrize("labels", [{JOB: "reviews"}, {ROLE: "head", ATTEMPT: "x"}, {ATTEMPT: "1"}])
def test_a_pod_that_names_no_attempt_and_role_is_none_of_the_jobs(labels: dict[str, str]) -> None:
    assert pod(labels, {}) is None


def test_the_log_of_a_pod_is_that_of_kubetunes_container_wherever_a_webhook_put_its_own() -> None:
    """O7"""
    found = pod({JOB: "reviews", ATTEMPT: "2", ROLE: "head"}, {}, "istio-proxy", "head")
    assert found is not None
    assert found.container == "head"


def pod(labels: dict[str, str], status: dict[str, Any], *names: str) -> Pod | None:
    metadata = {"namespace": "n", "name": "p", "uid": "u", "creationTimestamp": "t", "labels": labels}
    containers = [{"name": name} for name in names or ("main", "side")]
    return Pod.parse({"metadata": metadata, "spec": {"containers": containers}, "status": status})


def test_a_command_that_needs_no_cluster_does_not_wait_for_the_client_of_one() -> None:
    check = "import sys, kubetune_cli.main; sys.exit('kubernetes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
