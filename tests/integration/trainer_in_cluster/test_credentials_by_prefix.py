"""Secrets by prefix against a real S3 server: each part of it is opened by its own keys, and by no others."""

from pathlib import Path

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.run import MountedSecret
from kubetune_trainer.artifact.publish import preflight
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.credentials import StoreCredentials
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.storage.store import Store
from servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server

WRONG = "none of this server's keys"


@pytest.fixture
def server(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """As in a cluster: the environment says where the server is, and has keys of something else."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the environment")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of the environment")
    s3_server.make_bucket("models")
    return s3_server


def mounted(folder: Path, prefix: str, secret_key: str = SECRET_KEY) -> MountedSecret:
    folder.mkdir()
    (folder / "AWS_ACCESS_KEY_ID").write_text(ACCESS_KEY)
    (folder / "AWS_SECRET_ACCESS_KEY").write_text(f"{secret_key}\n")
    return MountedSecret(prefix=prefix, folder=str(folder))


def opened(credentials: StoreCredentials, uri: str) -> Store:
    return Store.open(uri, secret=credentials.opening(uri))


def test_each_prefix_is_opened_by_its_own_secret(server: S3Server, tmp_path: Path) -> None:
    credentials = StoreCredentials(
        (
            mounted(tmp_path / "wide", "s3://models", WRONG),
            mounted(tmp_path / "narrow", "s3://models/team-a"),
        )
    )
    preflight(opened(credentials, "s3://models/team-a/run"))
    with pytest.raises(RunError) as caught:
        preflight(opened(credentials, "s3://models/team-b/run"))
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert "the secret key does not fit the access key" in str(caught.value)
    assert WRONG not in str(caught.value)
    with pytest.raises(RunError) as caught:
        preflight(opened(credentials, server.make_bucket("elsewhere")))
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert "of the environment" not in str(caught.value)


def test_data_is_read_by_the_secret_for_its_folder(server: S3Server, tmp_path: Path) -> None:
    (server.root / "models" / "data").mkdir()
    (server.root / "models" / "data" / "rows.csv").write_text("text,label\n")
    narrow = StoreCredentials((mounted(tmp_path / "narrow", "s3://models/data"),))
    (file,) = fetch_dataset("s3://models/data/*.csv", None, tmp_path / "cache", narrow)
    assert file.path.read_text() == "text,label\n"
    with pytest.raises(RunError) as caught:
        fetch_dataset("s3://models/data/*.csv", None, tmp_path / "cache")
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED


def test_a_large_upload_is_opened_by_the_same_secret(server: S3Server, tmp_path: Path) -> None:
    credentials = StoreCredentials((mounted(tmp_path / "narrow", "s3://models/team-a"),))
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(12 * 2**20)
    opened(credentials, "s3://models/team-a").upload(tmp_path / "weights", "model/weights")
    assert (server.root / "models/team-a/model/weights").stat().st_size == 12 * 2**20


def test_a_secret_that_loses_a_key_midway_is_told(server: S3Server, tmp_path: Path) -> None:
    narrow = mounted(tmp_path / "narrow", "s3://models/team-a")
    store = opened(StoreCredentials((narrow,)), "s3://models/team-a")
    (tmp_path / "narrow" / "AWS_SECRET_ACCESS_KEY").unlink()
    with pytest.raises(RunError) as caught:
        store.create("note", b"")
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(caught.value)
