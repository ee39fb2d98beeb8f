"""What a run says of its model, read by those who define the forms: model-signing's library, in-toto's own messages."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement_pb2 import Statement
from model_signing import signing, verifying

from kubetune_trainer.artifact.examined import examine
from kubetune_trainer.artifact.signature import public_key, signed_files
from kubetune_trainer.storage.digests import sha256_of
from support.published_runs import published_run, write_model
from support.signing_keys import write_keys

CURVES = pytest.mark.parametrize(
    "curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: str(curve.name)
)


@CURVES
def test_the_library_verifies_a_model_that_a_run_signed(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    private, public = write_keys(tmp_path, ec.generate_private_key(curve))

    def change(model: Path) -> None:
        (model / "1_Pooling").mkdir()
        (model / "1_Pooling" / "config.json").write_text("{}")
        (model / "1-pooling.json").write_text("{}")

    published_run((tmp_path / "run").as_uri(), change=change, signing_key=private)
    model = tmp_path / "run/executions/1/model"
    library = verifying.Config().use_elliptic_key_verifier(public_key=public)
    library.verify(model, model / "model.sig")
    (model / "tokenizer.json").write_text("[]")
    with pytest.raises(ValueError, match=r"Hash mismatch for 'tokenizer.json'"):
        library.verify(model, model / "model.sig")


@CURVES
def test_what_the_library_signs_is_verified_here(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    private, public = write_keys(tmp_path, ec.generate_private_key(curve))
    write_model(tmp_path / "model")
    signing.Config().use_elliptic_key_signer(private_key=private).sign(tmp_path / "model", tmp_path / "model.sig")
    _, files = signed_files((tmp_path / "model.sig").read_bytes(), public_key(public.read_bytes()))
    assert files == {path.name: sha256_of(path) for path in (tmp_path / "model").iterdir()}


def test_the_provenance_has_the_fields_that_in_toto_and_slsa_define(tmp_path: Path) -> None:
    """Their messages refuse a field of another name or type."""
    published_run(tmp_path.as_uri())
    content = json.loads((tmp_path / "executions/1/provenance.intoto.json").read_text())
    statement = json_format.ParseDict(content, Statement())
    assert [subject.name for subject in statement.subject] == ["config.json", "model.safetensors", "tokenizer.json"]
    predicate = json_format.ParseDict(content["predicate"], Provenance())
    assert predicate.build_definition.external_parameters["job"]["metadata"]["name"] == "film-reviews"
    assert len(predicate.build_definition.resolved_dependencies) == 5
    assert predicate.run_details.metadata.started_on.ToJsonString() == "2026-03-02T09:14:07Z"
    assert examine(tmp_path.as_uri(), lambda *_: None).errors == ()
