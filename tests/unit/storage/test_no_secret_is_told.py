"""Whatever a server answers, though it repeats the whole request, no key of a Secret is in what a user reads."""

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from kubetune_api.run import MountedSecret
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.clients import RetryPolicy
from kubetune_trainer.storage.credentials import Secret, StoreCredentials, hidden
from kubetune_trainer.storage.models import fetch_model
from kubetune_trainer.storage.store import MissingObjectError, Store
from servers.scripted import ScriptedServer
from support.canaries import KEYS, mounted, shows_a_secret

ONCE = RetryPolicy(connect=10, response=30, retries=0, retry_window=0.1)
SIGNATURE = KEYS["AZURE_STORAGE_SAS_TOKEN"].rpartition("=")[2]
REPEATED = " ".join(["{request}", *KEYS.values()])
BODIES = {
    "an error in XML": f"<Error><Code>{KEYS['AWS_ACCESS_KEY_ID']}</Code><Message>{REPEATED}</Message></Error>",
    "plain text": REPEATED,
    "half of a list": f"<ListBucketResult>{REPEATED}<Contents><Key>{KEYS['AWS_SESSION_TOKEN']}</ListBucketResult>",
    "half of Azure's list": f"<EnumerationResults>{REPEATED}<Blobs><Blob><Name>{KEYS['AWS_SESSION_TOKEN']}",
    "a signature as the code": f"<Error><Code>{SIGNATURE}</Code><Message>{SIGNATURE}</Message></Error>",
    "JSON": f'{{"error": "{REPEATED}"}}'.replace('"type"', "type"),
}
STATUSES = (200, 400, 401, 403, 404, 409, 412, 500)
ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "az": "AZURE_STORAGE_ENDPOINT"}
REQUESTS: tuple[Callable[[Store], object], ...] = (
    lambda store: store.children(),
    lambda store: store.info("note"),
    lambda store: store.get("note"),
    lambda store: store.create("note", b"words"),
    lambda store: store.delete("note"),
)


def told(store: Store) -> list[str]:
    """What each request comes to, as a log would have it."""
    said = []
    for request in REQUESTS:
        try:
            request(store)
        except MissingObjectError as missing:
            said.append(str(missing))
        except RunError as error:
            said.append("".join(traceback.format_exception(error)))
    return said


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("scheme", ENDPOINTS)
def test_an_answer_that_repeats_the_request_shows_no_key_of_the_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str, body: str
) -> None:
    secret = Secret(f"{scheme}://models", mounted(tmp_path / "secret"))
    with ScriptedServer(200, body) as server:
        monkeypatch.setenv(ENDPOINTS[scheme], server.endpoint)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        for server.status in STATUSES:
            said = told(Store.open(f"{scheme}://models/team", ONCE, secret))
            assert [words for words in said if shows_a_secret(words)] == []
        assert len(server.requests) >= len(STATUSES) * len(REQUESTS)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_nor_a_variable_of_the_environment(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, KEYS[name])
    with ScriptedServer(200, body) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        for server.status in STATUSES:
            said = told(Store.open("s3://models/team", ONCE))
            assert [words for words in said if shows_a_secret(words)] == []


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_nor_the_token_for_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> None:
    credentials = StoreCredentials((MountedSecret(prefix="hf://", folder=str(mounted(tmp_path / "secret"))),))
    with ScriptedServer(200, body) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        for server.status in (200, 401, 403, 404):
            with pytest.raises(RunError) as caught:
                fetch_model("hf://owner/name", "a" * 40, tmp_path / "cache", credentials=credentials)
            assert not shows_a_secret(str(caught.value))
            assert caught.value.__suppress_context__


@pytest.mark.parametrize("between", ["\n", "\x00", "\u20ac", '"'], ids=ascii)
@pytest.mark.parametrize("key", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN"])
def test_a_value_that_no_request_can_carry_is_not_told_either(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, between: str
) -> None:
    secret = Secret("s3://", mounted(tmp_path / "secret", **{key: between.join([KEYS[key]] * 2)}))
    credentials = StoreCredentials((MountedSecret(prefix="hf://", folder=str(secret.folder)),))
    with ScriptedServer(403, "no") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        try:
            if key == "HF_TOKEN":
                fetch_model("hf://owner/name", "a" * 40, tmp_path / "cache", credentials=credentials)
            said = told(Store.open("s3://models/team", ONCE, secret))
        except RunError as error:
            said = [str(error)]
    assert said
    assert [words for words in said if shows_a_secret(words)] == []
    if not between.isprintable():
        assert f"The {key} in the Secret for " in said[0]
        assert said[0].endswith("cannot be used; it must be one line, without signs that cannot be printed.")


def test_nor_is_such_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"{KEYS['AWS_SESSION_TOKEN']}\nmore")
    with pytest.raises(RunError, match="The variable AWS_SESSION_TOKEN cannot be used; it must be one line"):
        Store.open("s3://models/team", ONCE)


@pytest.mark.parametrize(
    "said", ["CanarySig0123456789", "CanaryOfLetters", "Canary7f3e%2BSignature%3D", "Canary7f3e+Signature="]
)
def test_a_part_of_a_value_is_as_secret_as_the_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    """A server puts a signature alone into its answer or the code of its error, as it was sent or as it read it."""
    sas = "sv=2024-01-01&sp=rl&sig=CanarySig0123456789&own=CanaryOfLetters&by=Canary7f3e%2BSignature%3D"
    secret = Secret("az://models", mounted(tmp_path / "secret", AZURE_STORAGE_SAS_TOKEN=sas))
    with ScriptedServer(403, f"<Error><Code>{said}</Code></Error>") as server:
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", server.endpoint)
        answers = told(Store.open("az://models/team", ONCE, secret))
    assert answers
    assert [answer for answer in answers if said in answer] == []
    assert hidden(f"sp=rl came with {said}.", secret) == "sp=rl came with ***."
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", sas)
    assert hidden(f"sp=rl came with {said}.") == "sp=rl came with ***."


def test_what_is_hidden_is_every_text_in_a_secret_and_nothing_short(tmp_path: Path) -> None:
    secret = Secret("gs://", mounted(tmp_path / "secret", NOTE="a"))
    words = "\n".join(KEYS.values()).replace("{", " a bucket ")
    assert shows_a_secret(words)
    assert not shows_a_secret(hidden(words, secret))
    assert " a bucket " in hidden(words, secret)
