"""A model's signature in the format of OpenSSF's model signing: sigstore's bundle around an in-toto statement.

The format is that of the library `model-signing`, which verifies what is signed here, and the other way round. It is
written with `cryptography` alone: the library brings sigstore's clients for its servers, which a key does not need.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from kubetune_trainer.artifact.publish import canonical_json
from kubetune_trainer.artifact.statement import PAYLOAD_TYPE, STATEMENT, described, statement
from kubetune_trainer.records import StoredFile

_Key = TypeVar("_Key", ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)
SIGNATURE = "model.sig"
"""The file, in the folder of the model, where the library looks for it too."""
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_IGNORED = (SIGNATURE, ".git", ".gitattributes", ".github", ".gitignore")
"""What may lie in the folder without being signed, as the library has it."""
_HASHES: dict[str, type[HashAlgorithm]] = {"secp256r1": SHA256, "secp384r1": SHA384, "secp521r1": SHA512}
"""The curves of keys, and what is signed by each: the digest of that kind."""
_KEYS = "an ECDSA key on P-256, P-384 or P-521, in PEM"


def private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The key to sign with; ValueError says why it is none."""
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("it is encrypted; give the key without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        # The cause may hold parts of the key.
        raise ValueError(f"it is no private key; give {_KEYS}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
        raise ValueError(f"it is a key of another kind; give {_KEYS}")
    return key


def public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """The key to verify with; ValueError says why it is none."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"it is no public key; give {_KEYS}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise ValueError(f"it is a key of another kind; give {_KEYS}")
    return key


def key_in(file: Path, parse: Callable[[bytes], _Key]) -> _Key:
    """The key in a file, by `private_key` or `public_key`; ValueError says why there is none."""
    try:
        return parse(file.read_bytes())
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from None


def key_digest(key: ec.EllipticCurvePublicKey) -> str:
    """By which a signature names its key: the sha256 of its PEM, 64 hexadecimal digits."""
    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def signed(name: str, files: Sequence[StoredFile], key: ec.EllipticCurvePrivateKey) -> bytes:
    """The signature of the model `name`; the names of its files are relative to its folder."""
    # As the library orders them: part by part of their paths.
    resources = [
        {"name": file.name, "algorithm": "sha256", "digest": file.sha256}
        for file in sorted(files, key=lambda file: file.name.split("/"))
    ]
    root = hashlib.sha256(b"".join(bytes.fromhex(file["digest"]) for file in resources)).hexdigest()
    serialization = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": list(_IGNORED),
    }
    predicate = {"serialization": serialization, "resources": resources}
    payload = canonical_json(statement([described(root, name=name)], PREDICATE_TYPE, predicate))
    envelope = {
        "payload": _text(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": _text(key.sign(_encoded(payload), ec.ECDSA(_HASHES[key.curve.name]())))}],
    }
    material = {"publicKey": {"hint": key_digest(key.public_key())}, "tlogEntries": []}
    return canonical_json({"mediaType": _BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope})


def signed_files(signature: bytes, key: ec.EllipticCurvePublicKey) -> tuple[str | None, dict[str, str]]:
    """The model's name, and the digests that a signature vouches for, by file relative to the model's folder.

    ValueError says why it is none by this key.
    """
    try:
        bundle = json.loads(signature)
        envelope = bundle["dsseEnvelope"]
        hint = bundle["verificationMaterial"]["publicKey"].get("hint")
        payload, value = (base64.b64decode(text) for text in (envelope["payload"], envelope["signatures"][0]["sig"]))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is no signature of a key in sigstore's form") from None
    if hint not in (None, key_digest(key)):
        raise ValueError(f"it was made with another key ({hint})")
    try:
        key.verify(value, _encoded(payload), ec.ECDSA(_HASHES[key.curve.name]()))
    except InvalidSignature:
        raise ValueError("the key did not make it, or somebody changed it") from None
    return _resources(json.loads(payload))


def _resources(content: Any) -> tuple[str | None, dict[str, str]]:
    """What a statement that was signed says: whoever has the key may still have signed something else."""
    try:
        if (content["_type"], content["predicateType"]) != (STATEMENT, PREDICATE_TYPE):
            raise ValueError("it is not of a model's files")
        if content["predicate"]["serialization"]["hash_type"] != "sha256":
            raise ValueError("its digests are not sha256")
        files = {file["name"]: file["digest"] for file in content["predicate"]["resources"]}
        return content["subject"][0].get("name"), files
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("it is not of a model's files") from None


def _encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, which is what is signed."""
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
