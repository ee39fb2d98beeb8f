"""What a user reads when a store does not do its part."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.clients import RetryPolicy
from kubetune_trainer.storage.credentials import Secret
from kubetune_trainer.storage.errors import FailedRequest, explain
from kubetune_trainer.storage.locations import Location
from kubetune_trainer.storage.store import Store
from servers.processes import free_port
from servers.scripted import ScriptedServer
from support.stores import put

QUICK = RetryPolicy(connect=10, response=30, retries=1, retry_window=0.2)
"""Asks again but once; on a busy machine an answer takes its time all the same."""
KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary ones)"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHETESTS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of the tests")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def error_body(code: str) -> str:
    """As S3 writes it: with the access key and what was signed in it."""
    return (
        f"<Error><Code>{code}</Code><Message>words</Message><AWSAccessKeyId>AKIAOFTHETESTS</AWSAccessKeyId>"
        "<StringToSign>AWS4-HMAC-SHA256 secret things</StringToSign></Error>"
    )


@pytest.mark.parametrize(
    ("status", "code", "reason", "why"),
    [
        pytest.param(
            403,
            "SignatureDoesNotMatch",
            Reason.CREDENTIALS_REFUSED,
            f"{{server}} refused the credentials (the secret key does not fit the access key); {KEYS}",
            id="a wrong secret key",
        ),
        pytest.param(
            403,
            "InvalidAccessKeyId",
            Reason.CREDENTIALS_REFUSED,
            f"{{server}} refused the credentials (the access key is unknown there); {KEYS}",
            id="an unknown access key",
        ),
        pytest.param(
            400,
            "ExpiredToken",
            Reason.CREDENTIALS_REFUSED,
            f"{{server}} refused the credentials (the temporary credentials have expired); {KEYS}",
            id="an expired token",
        ),
        pytest.param(
            403,
            "AccessDenied",
            Reason.CREDENTIALS_REFUSED,
            f"{{server}} refused the credentials (they lack the permission); {KEYS}",
            id="a missing permission",
        ),
        pytest.param(
            403,
            "SomethingNew",
            Reason.CREDENTIALS_REFUSED,
            f"{{server}} refused the credentials (SomethingNew); {KEYS}",
            id="a refusal of an unknown kind",
        ),
        pytest.param(
            404,
            "NoSuchBucket",
            Reason.INVALID_MANIFEST,
            "{server} has no bucket models; create it, or correct the URI",
            id="a missing bucket",
        ),
        pytest.param(
            400,
            "InvalidBucketName",
            Reason.INVALID_MANIFEST,
            "{server} takes no bucket of that name; correct the URI",
            id="a name that no bucket has",
        ),
        pytest.param(
            400,
            "AuthorizationHeaderMalformed",
            Reason.STORAGE_FAILED,
            "{server} says that it is in another region; set AWS_REGION to it",
            id="another region",
        ),
        pytest.param(
            503,
            "SlowDown",
            Reason.STORAGE_FAILED,
            "{server} answered with HTTP status 503 (SlowDown); look into its log, or try again later",
            id="an overloaded server",
        ),
        pytest.param(
            507,
            "StorageFull",
            Reason.STORAGE_FAILED,
            "{server} answered with HTTP status 507 (StorageFull); look into its log, or try again later",
            id="a full server",
        ),
    ],
)
def test_the_answer_of_a_server_becomes_a_sentence_without_secrets(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, reason: str, why: str
) -> None:
    with ScriptedServer(status, error_body(code)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        with pytest.raises(RunError) as caught:
            put(Store.open("s3://models/team", QUICK), "note", b"words")
    assert caught.value.reason == reason
    assert str(caught.value) == f"s3://models/team/note could not be written: {why.format(server=server.endpoint)}."
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_region_is_corrected_in_the_profile_where_a_secret_opened_the_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        (tmp_path / name).write_text("of the tests")
    with ScriptedServer(400, error_body("AuthorizationHeaderMalformed")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        with pytest.raises(RunError) as caught:
            put(Store.open("s3://models", QUICK, secret=Secret("s3://models", tmp_path)), "note", b"words")
    assert str(caught.value) == (
        f"s3://models/note could not be written: {server.endpoint} says that it is in another region;"
        " the platform team sets the region of the profile's endpoint to it."
    )


@pytest.mark.parametrize("code", ["AuthenticationFailed", "SomethingNew"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_listing_is_of_the_credentials_whatever_the_store(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    """N11: it was told as a failure of the store, with its log as the remedy, and tried again."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "tests")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    with ScriptedServer(status, error_body(code)) as server:
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", server.endpoint)
        with pytest.raises(RunError) as caught:
            Store.open("az://models", QUICK).children("team")
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert f"{server.endpoint} refused the credentials (" in str(caught.value)
    assert "check AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "reason", "why"),
    [
        pytest.param(
            "ContainerNotFound", Reason.INVALID_MANIFEST, "has no container models; create it, or correct the URI"
        ),
        pytest.param(
            "InvalidResourceName", Reason.INVALID_MANIFEST, "takes no container of that name; correct the URI"
        ),
    ],
)
def test_what_azure_lacks_is_a_container(monkeypatch: pytest.MonkeyPatch, code: str, reason: str, why: str) -> None:
    """N11: it was told as a bucket, or as HTTP status 400."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "tests")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    with ScriptedServer(404 if code == "ContainerNotFound" else 400, error_body(code)) as server:
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", server.endpoint)
        with pytest.raises(RunError) as caught:
            put(Store.open("az://models", QUICK), "note", b"words")
    assert caught.value.reason == reason
    assert str(caught.value) == f"az://models/note could not be written: {server.endpoint} {why}."


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="no file"),
        pytest.param("no JSON", id="a file that is no JSON"),
        pytest.param(
            '{"type": "service_account", "client_email": "a", "private_key_id": "b", "private_key": "no PEM"}',
            id="a key that is none",
        ),
    ],
)
def test_a_file_that_is_no_key_of_google_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    """N11: it was told as a failure of the store, in the words of its client."""
    file = tmp_path / "key.json"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(RunError) as caught:
        Store.open("gs://models", QUICK)
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert str(caught.value) == (
        "gs://models/ could not be reached: no key of a service account was found, as Google gives it; check"
        " GOOGLE_APPLICATION_CREDENTIALS."
    )


def test_a_secret_whose_key_of_google_signs_nothing_is_told(tmp_path: Path) -> None:
    """N11."""
    key = {"type": "service_account", "client_email": "a", "private_key_id": "b", "private_key": "no PEM"}
    (tmp_path / "GOOGLE_SERVICE_ACCOUNT_KEY").write_text(json.dumps(key))
    with pytest.raises(RunError) as caught:
        Store.open("gs://models", QUICK, Secret("gs://models", tmp_path))
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert "in the Secret for gs://models." in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text"), [("AZURE_STORAGE_ACCOUNT_KEY", "no Base64"), ("AZURE_STORAGE_SAS_TOKEN", "no query")]
)
def test_credentials_of_azure_that_are_none_are_told(monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> None:
    """N11: of a token, the run ended in the words of the client."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "tests")
    monkeypatch.setenv(variable, text)
    with pytest.raises(RunError) as caught:
        Store.open("az://models", QUICK)
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert str(caught.value) == (
        "az://models/ could not be reached: Azure Blob Storage refused the credentials; check"
        " AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN."
    )


def test_an_account_that_azure_does_not_have_is_told_by_the_name_of_its_server() -> None:
    """N11: its server is not found, and the network alone was blamed."""
    words = 'HttpError { kind: Connect, source: ConnectError("dns error", "failed to lookup address information") }'
    told = explain(Exception(words), FailedRequest("read", Location.parse("az://models/note"), 1))
    assert str(told) == (
        "az://models/note could not be read: Azure Blob Storage cannot be reached; check the network and"
        " AZURE_STORAGE_ACCOUNT_NAME, after which its server is called, or name a server of your own in"
        " AZURE_STORAGE_ENDPOINT, in a cluster in the profile's endpoints."
    )


def test_another_server_of_google_s_is_named_as_one_of_any_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """N11: there was no way to name one, neither here nor in a profile."""
    monkeypatch.setenv("GOOGLE_BASE_URL", "http://gcs.storage.svc:4443")
    with pytest.raises(RunError) as caught:
        Store.open("gs://models", QUICK)
    assert str(caught.value) == (
        "gs://models/ would be reached without encryption at gcs.storage.svc;"
        " use an https:// endpoint, or set GOOGLE_ALLOW_HTTP=true if the network is trusted."
    )


@pytest.mark.parametrize("then", [200, 409], ids=["which comes to nothing", "which takes its time"])
def test_an_object_that_another_is_writing_is_created_or_left_to_it(monkeypatch: pytest.MonkeyPatch, then: int) -> None:
    """N11: what refused the creation was not there yet, and the run ended with a URI to correct."""
    monkeypatch.setattr("kubetune_trainer.storage.store._PAUSES", (0.01, 0.01))
    conflict, missing = error_body("ConditionalRequestConflict"), error_body("NoSuchKey")
    answers = [(409, conflict), (404, missing), (then, conflict), (404, missing)]
    with ScriptedServer(500, first=answers) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        assert Store.open("s3://models", QUICK).create("claim", b"mine") is (then == 200)
    assert [request.split()[0] for request in server.requests] == ["PUT", "GET", "PUT", "GET"][
        : 3 if then == 200 else 4
    ]


def test_a_store_without_regions_is_told_by_its_status() -> None:
    words = f"status: 400 {error_body('AuthorizationHeaderMalformed')}"
    told = explain(Exception(words), FailedRequest("read", Location.parse("az://models/note"), 1))
    assert str(told) == (
        "az://models/note could not be read: Azure Blob Storage answered with HTTP status 400"
        " (AuthorizationHeaderMalformed); look into its log, or try again later."
    )


def test_a_redirect_to_nowhere_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(301) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        with pytest.raises(RunError) as caught:
            Store.open("s3://models/team", QUICK).get("note")
    assert str(caught.value) == (
        f"s3://models/team/note could not be read: {server.endpoint} sends elsewhere without saying where;"
        " check the endpoint, and the region of the bucket."
    )


def test_what_is_not_known_names_the_log_where_the_rest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://minio.test")
    words = "Generic S3 error: Error performing GET https://minio.test/models in 1ms - something new"
    told = explain(Exception(words), FailedRequest("read", Location.parse("s3://models/note"), 1))
    assert str(told) == (
        "s3://models/note could not be read: Generic S3 error: Error performing GET; look into the log of"
        " https://minio.test, or try again later."
    )


def test_a_password_in_the_endpoint_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://someone:password@127.0.0.1:{free_port()}")
    with pytest.raises(RunError) as caught:
        put(Store.open("s3://models", QUICK), "note", b"")
    assert "password" not in str(caught.value)


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(RunError) as caught:
        Store.open("s3://models", QUICK).children("team")
    assert str(caught.value) == (
        f"s3://models/team could not be listed: {endpoint} cannot be reached;"
        " check the endpoint, and whether the server runs."
    )


def test_amazon_s3_that_is_not_reached_is_told_with_the_way_to_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RunError) as caught:
        Store.open("s3://models", QUICK).children("team")
    assert str(caught.value) == (
        "s3://models/team could not be listed: Amazon S3 cannot be reached;"
        " check the network, or name a server of your own in AWS_ENDPOINT_URL, in a cluster in the profile's endpoints."
    )


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(bytes(6 * 2**20))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(RunError) as caught:
            Store.open("s3://models", replace(QUICK, response=0.3)).upload(tmp_path / "sent", "object")
    assert str(caught.value) == (
        f"s3://models/object could not be written: {endpoint} did not answer within 0.3 seconds;"
        " check the server and the network, or raise KUBETUNE_STORAGE_TIMEOUT_SECONDS."
    )


@pytest.mark.parametrize(
    ("variables", "reason", "message"),
    [
        pytest.param(
            {"AWS_ENDPOINT_URL": "localhost:7070"},
            Reason.STORAGE_FAILED,
            "AWS_ENDPOINT_URL is not a URL; set it to https://host or https://host:port.",
            id="an endpoint without a scheme",
        ),
        pytest.param(
            {"AWS_ENDPOINT_URL": "http://minio.storage.svc:9000"},
            Reason.STORAGE_FAILED,
            "s3://models/ would be reached without encryption at minio.storage.svc;"
            " use an https:// endpoint, or set AWS_ALLOW_HTTP=true if the network is trusted.",
            id="an unencrypted endpoint elsewhere",
        ),
        pytest.param(
            {"AWS_SECRET_ACCESS_KEY": None},
            Reason.CREDENTIALS_REFUSED,
            "s3://models/ could not be reached: no credentials were found;"
            " set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary ones).",
            id="half of the credentials",
        ),
        pytest.param(
            {"KUBETUNE_STORAGE_TIMEOUT_SECONDS": "soon"},
            Reason.STORAGE_FAILED,
            "KUBETUNE_STORAGE_TIMEOUT_SECONDS is 'soon'; set it to 1 to 3600 seconds.",
            id="a timeout that is no number",
        ),
    ],
)
def test_a_wrong_variable_is_told_before_any_request(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str | None], reason: str, message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(RunError) as caught:
        Store.open("s3://models")
    assert caught.value.reason == reason
    assert str(caught.value) == message


def test_an_unencrypted_endpoint_elsewhere_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.storage.svc:9000")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert Store.open("s3://models").uri("note") == "s3://models/note"


def test_the_timeout_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBETUNE_STORAGE_TIMEOUT_SECONDS", "60")
    assert RetryPolicy.from_environment() == RetryPolicy(response=60, retry_window=72)


def test_a_large_upload_gets_more_patience() -> None:
    assert RetryPolicy(response=8).for_upload(50 * 10**9, 10 * 10**6).response == 258


def test_what_is_under_way_at_a_time_gets_through_a_slow_line() -> None:
    patient = RetryPolicy(response=8).for_upload(2 * 10**8, 300 * 10**6)
    assert (patient.response, patient.retry_window) == (201, 1.2 * 201)
