"""Which Secret opens which URI, and what is said of one that lacks a key."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.run import MountedSecret
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.clients import RetryPolicy, connect
from kubetune_trainer.storage.credentials import ENVIRONMENT, Secret, StoreCredentials
from kubetune_trainer.storage.hub import HubRepository
from kubetune_trainer.storage.locations import Location

GOOGLE_KEY = {
    "type": "service_account",
    "client_email": "trainer@project.iam.gserviceaccount.com",
    "private_key_id": "1",
    "private_key": "-----BEGIN PRIVATE KEY-----\\n",
}
SERVICE_ACCOUNT_KEY = json.dumps(GOOGLE_KEY)


def credentials(*prefixes: str) -> StoreCredentials:
    return StoreCredentials(
        tuple(MountedSecret(prefix=prefix, folder=f"/secrets/{number}") for number, prefix in enumerate(prefixes))
    )


def secret(folder: Path, prefix: str = "s3://models", **keys: str) -> Secret:
    for name, value in keys.items():
        (folder / name).write_text(value)
    return Secret(prefix, folder)


@pytest.mark.parametrize(
    ("prefixes", "uri", "number"),
    [
        pytest.param(["s3://models"], "s3://models/team-a/x", 0, id="below a bucket"),
        pytest.param(["s3://models/"], "s3://models", 0, id="the bucket itself"),
        pytest.param(["s3://models"], "s3://models-of-others/x", None, id="another bucket that begins alike"),
        pytest.param(["s3://models"], "gs://models/x", None, id="the same bucket of another store"),
        pytest.param(["s3://"], "s3://anything/x", 0, id="all of a store"),
        pytest.param(["s3://", "s3://models", "s3://models/a"], "s3://models/a/b", 2, id="the longest, listed last"),
        pytest.param(["s3://models/a", "s3://models", "s3://"], "s3://models/a/b", 0, id="the longest, listed first"),
        pytest.param(["s3://models/a", "s3://models//////////"], "s3://models/a/b", 0, id="slashes make none longer"),
        pytest.param(["s3://models", "s3://models/"], "s3://models/x", 0, id="of two for the same, the first"),
        pytest.param(["s3://models/a"], "s3://models/a/../b", None, id="a path that climbs"),
        pytest.param(["hf://"], "hf://google-bert/bert-base-uncased", 0, id="the hub"),
        pytest.param([], "s3://models/x", None, id="without any"),
    ],
)
def test_the_longest_prefix_counts(prefixes: list[str], uri: str, number: int | None) -> None:
    opening = credentials(*prefixes).opening(uri)
    assert (opening and opening.folder) == (None if number is None else Path(f"/secrets/{number}"))


def test_without_secrets_the_environment_counts() -> None:
    assert ENVIRONMENT.opening("s3://models/x") is None


def test_keys_of_s3_are_read_anew_by_the_client(tmp_path: Path) -> None:
    opened = secret(tmp_path, AWS_ACCESS_KEY_ID="id\n", AWS_SECRET_ACCESS_KEY="key", SOMETHING_ELSE="x")
    read = opened.client_options("s3")["credential_provider"]
    now = datetime.now(UTC)
    first = read()
    assert (first["access_key_id"], first["secret_access_key"], first["token"]) == ("id", "key", None)
    assert now < first["expires_at"] < now + timedelta(minutes=5)
    secret(tmp_path, AWS_ACCESS_KEY_ID="other id", AWS_SESSION_TOKEN="token")
    assert (read()["access_key_id"], read()["token"]) == ("other id", "token")


def test_the_key_of_google_is_the_json_itself(tmp_path: Path) -> None:
    opened = secret(tmp_path, GOOGLE_SERVICE_ACCOUNT_KEY=SERVICE_ACCOUNT_KEY)
    assert json.loads(opened.client_options("gs")["service_account_key"]) == GOOGLE_KEY


@pytest.mark.parametrize(
    "field",
    [
        {"gcs_base_url": "https://evil.test"},
        {"disable_oauth": True},
        {"token_uri": "https://evil.test/token"},
        {"universe_domain": "evil.test"},
    ],
    ids=str,
)
def test_a_key_of_google_names_no_server(tmp_path: Path, field: dict[str, object]) -> None:
    """S5."""
    opened = secret(tmp_path, "gs://b", GOOGLE_SERVICE_ACCOUNT_KEY=json.dumps(GOOGLE_KEY | field))
    assert json.loads(opened.client_options("gs")["service_account_key"]) == GOOGLE_KEY


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"type": "service_account"}', id="without its key"),
        pytest.param(json.dumps(GOOGLE_KEY | {"type": "external_account"}), id="a key that has others asked"),
        pytest.param("/secrets/key.json", id="a path"),
        pytest.param("[]", id="a list"),
        pytest.param("7", id="a number"),
    ],
)
def test_what_is_no_key_of_google_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    """S5."""
    opened = secret(tmp_path, "gs://b", GOOGLE_SERVICE_ACCOUNT_KEY=text)
    with pytest.raises(RunError, match="in the Secret for gs://b cannot be used; it must be the JSON of a") as failed:
        opened.client_options("gs")
    assert failed.value.reason == Reason.CREDENTIALS_REFUSED
    assert text not in str(failed.value)


@pytest.mark.parametrize(
    "account",
    ["evil.test/", "evil.test#", "account.evil.test", "account@evil.test", "Account", "ab", "a" * 25, "127.0.0.1:80/x"],
)
def test_an_account_with_a_server_in_it_is_refused(tmp_path: Path, account: str) -> None:
    """S5."""
    opened = secret(tmp_path, "az://c", AZURE_STORAGE_ACCOUNT_NAME=account, AZURE_STORAGE_ACCOUNT_KEY="a2V5")
    with pytest.raises(RunError, match="it must be the account's name, 3 to 24 lowercase letters and digits") as failed:
        opened.client_options("az")
    assert account not in str(failed.value).replace("The AZURE_STORAGE_ACCOUNT_NAME in the Secret for az://c", "")


def test_a_profile_says_which_accounts_a_secret_may_name(tmp_path: Path) -> None:
    """S5."""
    secret(tmp_path, AZURE_STORAGE_ACCOUNT_NAME="mine", AZURE_STORAGE_ACCOUNT_KEY="a2V5")
    mounted = (MountedSecret(prefix="az://", folder=str(tmp_path)),)
    for accounts in ((), ("mine", "other")):
        opened = StoreCredentials(mounted, accounts).opening("az://c/x")
        assert opened is not None
        assert opened.client_options("az")["account_name"] == "mine"
    opened = StoreCredentials(mounted, ("company", "other")).opening("az://c/x")
    assert opened is not None
    with pytest.raises(RunError, match=r"profile allows \(allowedStorageAccounts\): company or other\."):
        opened.client_options("az")


@pytest.mark.parametrize("uri", ["s3://b/x", "gs://b/x", "az://c/x"])
def test_without_a_service_account_no_store_is_opened_as_the_machine(uri: str) -> None:
    """S6."""
    closed = StoreCredentials(ambient=False)
    with pytest.raises(RunError, match="No Secret of the job or of its profile is for") as failed:
        closed.opening(uri)
    assert failed.value.reason == Reason.CREDENTIALS_REFUSED
    assert "name a Secret in spec.credentials" in str(failed.value)
    assert closed.opening("hf://owner/name") is None, "the public hub needs no key"


def test_azure_takes_an_account_with_its_key_or_with_a_token(tmp_path: Path) -> None:
    opened = secret(tmp_path, AZURE_STORAGE_ACCOUNT_NAME="account", AZURE_STORAGE_ACCOUNT_KEY="a2V5")
    options = opened.client_options("az")
    assert options["account_name"] == "account"
    assert options["credential_provider"]()["access_key"] == "a2V5"
    secret(tmp_path, AZURE_STORAGE_SAS_TOKEN="sv=1&sig=x")
    assert "access_key" not in options["credential_provider"]()
    assert options["credential_provider"]()["sas_token"] == "sv=1&sig=x"


def test_a_file_system_needs_no_key(tmp_path: Path) -> None:
    assert secret(tmp_path).client_options("file") == {}


def test_the_hub_gets_the_secrets_token_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "of the environment")
    revision = "a" * 40
    opened = secret(tmp_path, "hf://", HF_TOKEN="of the Secret\n")
    repository, _ = HubRepository.parse("hf://owner/name", revision, opened)
    assert repository._token == "of the Secret"
    assert HubRepository.parse("hf://owner/name", revision)[0]._token == "of the environment"


@pytest.mark.parametrize(
    ("scheme", "keys", "why"),
    [
        pytest.param(
            "s3",
            {"AWS_ACCESS_KEY_ID": "id"},
            "has no AWS_SECRET_ACCESS_KEY; s3:// takes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and"
            " AWS_SESSION_TOKEN for temporary ones), each a key of it.",
            id="s3, a key missing",
        ),
        pytest.param(
            "s3",
            {"AWS_ACCESS_KEY_ID": " \n", "AWS_SECRET_ACCESS_KEY": "value-a"},
            "has no AWS_ACCESS_KEY_ID; s3:// takes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and"
            " AWS_SESSION_TOKEN for temporary ones), each a key of it.",
            id="s3, a key empty",
        ),
        pytest.param(
            "gs",
            {"AWS_ACCESS_KEY_ID": "value-a"},
            "has no GOOGLE_SERVICE_ACCOUNT_KEY; gs:// takes GOOGLE_SERVICE_ACCOUNT_KEY (the JSON of a service account's"
            " key), each a key of it.",
            id="gs, the keys of another store",
        ),
        pytest.param(
            "az",
            {"AZURE_STORAGE_ACCOUNT_NAME": "value-a"},
            "has no AZURE_STORAGE_ACCOUNT_KEY; az:// takes AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or"
            " AZURE_STORAGE_SAS_TOKEN, each a key of it.",
            id="az, an account without a key",
        ),
        pytest.param(
            "az",
            {"AZURE_STORAGE_SAS_TOKEN": "value-a"},
            "has no AZURE_STORAGE_ACCOUNT_NAME; az:// takes AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY"
            " or AZURE_STORAGE_SAS_TOKEN, each a key of it.",
            id="az, a token without an account",
        ),
    ],
)
def test_a_key_that_is_missing_is_named_and_no_value_is(
    tmp_path: Path, scheme: str, keys: dict[str, str], why: str
) -> None:
    opened = secret(tmp_path, f"{scheme}://models", **keys)
    with pytest.raises(RunError) as caught:
        connect(Location.parse(f"{scheme}://models/x"), RetryPolicy(), opened)
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert str(caught.value) == f"The Secret for {scheme}://models {why}"
    assert "value-a" not in str(caught.value)


def test_a_folder_that_is_not_there_holds_no_key(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="The Secret for hf:// has no HF_TOKEN"):
        HubRepository.parse("hf://owner/name", "a" * 40, Secret("hf://", tmp_path / "none"))


def test_a_secret_shows_no_value(tmp_path: Path) -> None:
    opened = secret(tmp_path, AWS_ACCESS_KEY_ID="AKIA0", AWS_SECRET_ACCESS_KEY="AKIA0")
    assert "AKIA0" not in f"{opened!r} {opened}"
