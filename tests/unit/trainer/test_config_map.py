"""How a report gets into its ConfigMap, and what becomes of one that does not."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubetune_api.run import ReportTo
from kubetune_trainer import config_map
from kubetune_trainer.config_map import ConfigMap, ReportError
from support.fake_api_server import FakeApiServer

TARGET = ReportTo(namespace="team-a", name="reviews-ab12c-reports")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeApiServer]:
    with FakeApiServer(tmp_path) as server:
        yield server


def door(server: FakeApiServer) -> ConfigMap:
    return ConfigMap(TARGET, "127.0.0.1", server.port, server.folder)


def test_a_report_is_a_merge_patch_of_one_key(server: FakeApiServer) -> None:
    door(server).write('{"attempt":1}')
    (request,) = server.requests
    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/team-a/configmaps/reviews-ab12c-reports")
    assert (request.token, request.media) == ("first", "application/merge-patch+json")
    assert request.body == {"data": {"report.json": '{"attempt":1}'}}


def test_a_new_token_counts_from_the_next_report_on(server: FakeApiServer) -> None:
    door(server).write("{}")
    (server.folder / "token").write_text("second")
    door(server).write("{}")
    assert [request.token for request in server.requests] == ["first", "second"]


@pytest.mark.parametrize("status", [403, 409, 500])
def test_a_refusal_is_told_in_the_servers_words(server: FakeApiServer, status: int) -> None:
    server.answers = [(status, {"kind": "Status", "message": "configmaps is forbidden"})]
    with pytest.raises(ReportError) as caught:
        door(server).write("{}")
    assert str(caught.value) == (f"127.0.0.1:{server.port} answered with HTTP status {status}: configmaps is forbidden")
    assert "first" not in str(caught.value)


def test_a_server_that_is_silent_is_given_up(
    server: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_map, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ReportError, match=f"127.0.0.1:{port} cannot be reached: TimeoutError"):
            ConfigMap(TARGET, "127.0.0.1", port, tmp_path).write("{}")


def test_a_server_that_is_not_there_is_told(server: FakeApiServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ReportError, match="cannot be reached: ConnectionRefusedError"):
        ConfigMap(TARGET, "127.0.0.1", port, tmp_path).write("{}")


@pytest.mark.parametrize("file", ["token", "ca.crt"])
def test_a_pod_without_a_token_is_told(server: FakeApiServer, file: str) -> None:
    (server.folder / file).unlink()
    with pytest.raises(ReportError, match="cannot be reached: FileNotFoundError"):
        door(server).write("{}")


def test_a_server_with_another_certificate_gets_no_token(server: FakeApiServer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with FakeApiServer(tmp_path / "other") as other:
        stranger = ConfigMap(TARGET, "127.0.0.1", other.port, server.folder)
        with pytest.raises(ReportError, match="SSLCertVerificationError"):
            stranger.write("{}")
        assert other.requests == []


def test_the_server_is_the_one_that_kubernetes_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert ConfigMap.from_environment(TARGET, tmp_path) == ConfigMap(TARGET, "10.96.0.1", 6443, tmp_path)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    monkeypatch.delenv("KUBERNETES_SERVICE_PORT")
    assert ConfigMap.from_environment(TARGET) == ConfigMap(
        TARGET, "kubernetes.default.svc", 443, Path("/var/run/secrets/kubernetes.io/serviceaccount")
    )
