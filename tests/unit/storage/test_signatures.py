"""The signature of a model: made before the manifest, and held against the files that come, whoever changed them."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_trainer.artifact.attested import signing_key
from kubetune_trainer.artifact.examined import Examined, examine
from kubetune_trainer.artifact.signature import private_key, public_key, signed, signed_files
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import RequirementResult, StoredFile
from support.published_runs import RECORD, published_run
from support.run_records import stored
from support.signing_keys import private_pem, public_pem, write_keys

KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
RSA = rsa.generate_private_key(65537, 2048)
MODEL = "executions/1/model"
FILES = [stored(name, 3) for name in ("model.safetensors", "config.json", "1_Pooling/config.json")]


def found(uri: str, key: Path | None) -> Examined:
    return examine(uri, lambda *_: None, key=key)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_signature_vouches_for_each_file(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    opened = private_key(private_pem(key))
    name, files = signed_files(signed("reviews", FILES, opened), public_key(public_pem(key)))
    assert (name, files) == ("reviews", {file.name: file.sha256 for file in FILES})


def test_the_statement_names_the_model_and_the_digest_of_all_its_files() -> None:
    content = _payload(signed("reviews", FILES, KEY))
    assert content["predicateType"] == "https://model_signing/signature/v1.0"
    assert [subject["name"] for subject in content["subject"]] == ["reviews"]
    names = [file["name"] for file in content["predicate"]["resources"]]
    assert names == ["1_Pooling/config.json", "config.json", "model.safetensors"]


def _payload(signature: bytes) -> dict[str, object]:
    content: dict[str, object] = json.loads(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))
    return content


def test_a_signed_model_is_verified_by_the_public_key(root: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    published_run(root.as_uri(), signing_key=private)
    assert (found(root.as_uri(), public).errors, found(root.as_uri(), public).signed) == ((), True)
    assert found(root.as_uri(), None).key is None


def test_a_manifest_that_was_replaced_with_the_files_does_not_help(root: Path, tmp_path: Path) -> None:
    """Whoever may write to the store publishes another model, and leaves the signature."""
    private, public = write_keys(tmp_path)
    published_run(root.as_uri(), signing_key=private)
    signature = (root / MODEL / "model.sig").read_bytes()
    forged = tmp_path / "forged"

    def change(model: Path) -> None:
        (model / "tokenizer.json").write_text('{"other": 1}')
        (model / "added.json").write_text("{}")
        (model / "model.sig").write_bytes(signature)

    published_run(forged.as_uri(), change=change)
    assert found(forged.as_uri(), None).errors == ()
    assert found(forged.as_uri(), public).errors == (
        "model/model.sig: added.json is not signed",
        "model/model.sig: tokenizer.json is another file than was signed",
    )


def test_a_rejected_model_is_not_signed(root: Path, tmp_path: Path) -> None:
    """The manifest beside it can be changed to say that it is not rejected."""
    private, public = write_keys(tmp_path)
    unmet = (RequirementResult("test/accuracy", 0.8, 0.9, None),)
    published_run(root.as_uri(), replace(RECORD, requirements=unmet), signing_key=private)
    assert found(root.as_uri(), public).errors == ("model/model.sig: the model is not signed",)


def test_the_model_of_another_job_is_not_verified_by_the_same_key(root: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    published_run(root.as_uri(), signing_key=private)
    assert found(root.as_uri(), public).signed_for == "film-reviews"
    content = json.loads((root / "manifest.json").read_text())
    content["provenance"]["job"]["metadata"]["name"] = "fraud"
    (root / "manifest.json").write_text(json.dumps(content))
    assert found(root.as_uri(), public).errors == (
        "model/model.sig: it is of a model of the job film-reviews, and manifest.json of the job fraud",
    )


def test_a_model_without_a_signature_is_not_verified_by_a_key(root: Path, tmp_path: Path) -> None:
    published_run(root.as_uri())
    assert found(root.as_uri(), write_keys(tmp_path)[1]).errors == ("model/model.sig: the model is not signed",)


def test_another_key_verifies_nothing(root: Path, tmp_path: Path) -> None:
    published_run(root.as_uri(), signing_key=write_keys(tmp_path)[0])
    (tmp_path / "other").mkdir()
    (error,) = found(root.as_uri(), write_keys(tmp_path / "other")[1]).errors
    assert error.startswith("model/model.sig: it is not valid: it was made with another key (")


def _changed(change: Callable[[dict[str, object]], object]) -> bytes:
    """A signature by the key whose statement was changed afterwards."""
    bundle = json.loads(signed("reviews", FILES, KEY))
    content = _payload(signed("reviews", FILES, KEY))
    change(content)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(content).encode()).decode()
    return json.dumps(bundle).encode()


def _with_hint(hint: object) -> bytes:
    bundle = json.loads(signed("reviews", FILES, OTHER))
    bundle["verificationMaterial"]["publicKey"]["hint"] = hint
    return json.dumps(bundle).encode()


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        pytest.param(_changed(dict.clear), "the key did not make it, or somebody changed it", id="changed"),
        pytest.param(_with_hint(None), "the key did not make it, or somebody changed it", id="by another key"),
        pytest.param(b"-----BEGIN PGP SIGNATURE-----", "it is no signature of a key in sigstore's form", id="PGP"),
        pytest.param(b"[" * 100_000, "it is no signature of a key in sigstore's form", id="nested without end"),
        pytest.param(b"[]", "it is no signature of a key in sigstore's form", id="no object"),
        pytest.param(b'{"dsseEnvelope": {}}', "it is no signature of a key in sigstore's form", id="empty"),
    ],
)
def test_what_is_no_signature_by_the_key_says_why(signature: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        signed_files(signature, KEY.public_key())


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        pytest.param(private_pem(KEY, b"secret"), "it is encrypted; give the key without a passphrase", id="encrypted"),
        pytest.param(public_pem(KEY), "it is no private key; give an ECDSA key on P-256", id="the public key"),
        pytest.param(private_pem(RSA), "it is a key of another kind; give an ECDSA key on P-256", id="RSA"),
        pytest.param(
            private_pem(ec.generate_private_key(ec.SECP256K1())), "it is a key of another kind", id="another curve"
        ),
        pytest.param(b"", "it is no private key", id="an empty file"),
        pytest.param(None, "it cannot be read: No such file or directory", id="no file"),
    ],
)
def test_a_key_that_cannot_sign_is_told_before_the_training(tmp_path: Path, pem: bytes | None, why: str) -> None:
    file = tmp_path / "key.pem"
    if pem is not None:
        file.write_bytes(pem)
    run = Run(job=RECORD.job, run_id="run-1", signing_key=str(file))
    with pytest.raises(RunError) as raised:
        signing_key(run)
    assert raised.value.reason == Reason.CREDENTIALS_REFUSED
    assert raised.value.message.startswith(f"The key {file} cannot sign the model: {why}")
    assert pem is None or pem.decode()[40:60] not in raised.value.message or not pem


@pytest.mark.parametrize("pem", [private_pem(KEY), public_pem(RSA), None], ids=["private", "RSA", "no file"])
def test_a_key_that_cannot_verify_is_an_error(root: Path, tmp_path: Path, pem: bytes | None) -> None:
    published_run(root.as_uri())
    file = tmp_path / "key.pub"
    if pem is not None:
        file.write_bytes(pem)
    with pytest.raises(RunError, match=f"The key {file} cannot verify a signature: it"):
        found(root.as_uri(), file)


def test_no_two_files_of_a_model_share_a_digest_by_their_order() -> None:
    """The order of the resources is that of the paths' parts, as the library has it."""
    files = [StoredFile(name, 1, "0" * 64) for name in ("a-b.json", "a/b.json")]
    content = _payload(signed("reviews", files, KEY))
    assert [file["name"] for file in content["predicate"]["resources"]] == ["a/b.json", "a-b.json"]  # type: ignore[index]
