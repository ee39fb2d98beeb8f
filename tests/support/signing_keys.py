"""Pairs of keys that tests sign and verify models with."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def private_pem(key: Key, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_pem(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_keys(folder: Path, key: Key | None = None) -> tuple[Path, Path]:
    """The files of a pair: the private key's and the public key's."""
    made = key or ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "signing.pem", folder / "signing.pub"
    private.write_bytes(private_pem(made))
    public.write_bytes(public_pem(made))
    return private, public
