"""Every scheme of the API's table has a client, and what opens it is named as it was opened."""

from pathlib import Path

import pytest

from kubetune_api.schemes import FILE, HUB, SCHEMES, WRITABLE, scheme_of
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.clients import CLIENTS, RetryPolicy
from kubetune_trainer.storage.credentials import KEYS, Secret
from kubetune_trainer.storage.store import Store
from servers.scripted import ScriptedServer

QUICK = RetryPolicy(connect=1, response=30, retries=1, retry_window=0.2)
DENIED = "<Error><Code>AccessDenied</Code></Error>"


def test_every_scheme_has_a_client_of_its_own() -> None:
    assert {FILE, *CLIENTS} == set(WRITABLE)
    assert {*WRITABLE, HUB} == set(SCHEMES)


def test_a_secret_opens_every_scheme_but_this_machine() -> None:
    assert set(KEYS) == set(CLIENTS)
    assert {name for name, scheme in SCHEMES.items() if scheme.keys} == {*CLIENTS, HUB}


def test_a_store_opened_by_a_secret_and_refused_names_the_keys_of_the_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        (tmp_path / key).write_text("x")
    with ScriptedServer(403, DENIED) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        with pytest.raises(RunError) as caught:
            Store.open("s3://models/team", QUICK, Secret("s3://models", tmp_path)).children()
    assert str(caught.value) == (
        f"s3://models/team could not be listed: {server.endpoint} refused the credentials (they lack the permission);"
        " check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary ones) in the Secret"
        " for s3://models."
    )


@pytest.mark.parametrize(
    ("uri", "keys", "endpoint"),
    [
        pytest.param(
            "s3://models", {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}, "AWS_ENDPOINT_URL", id="s3"
        ),
        pytest.param(
            "az://models",
            {"AZURE_STORAGE_ACCOUNT_NAME": "tiny", "AZURE_STORAGE_ACCOUNT_KEY": "eA=="},
            "AZURE_STORAGE_ENDPOINT",
            id="az",
        ),
    ],
)
def test_the_advice_to_a_refused_secret_is_the_row_of_its_scheme(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str, keys: dict[str, str], endpoint: str
) -> None:
    """T21."""
    for key, value in keys.items():
        (tmp_path / key).write_text(value)
    row = SCHEMES[scheme_of(uri)]
    with ScriptedServer(403, DENIED) as server:
        monkeypatch.setenv(endpoint, server.endpoint)
        with pytest.raises(RunError) as by_secret:
            Store.open(uri, QUICK, Secret(uri, tmp_path)).children()
        for key, value in keys.items():
            monkeypatch.setenv(key, value)
        with pytest.raises(RunError) as by_environment:
            Store.open(uri, QUICK).children()
    assert f"check {row.keys} in the Secret for {uri}." in str(by_secret.value)
    assert f"check {row.variables}" in str(by_environment.value)
    assert "Secret" not in str(by_environment.value)
