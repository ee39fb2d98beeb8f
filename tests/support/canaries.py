"""A word in every key of a Secret that is nowhere else, so that whatever shows it has shown a secret."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path

CANARY = "Canary7f3e"
GOOGLE_KEY = {
    "type": "service_account",
    "client_email": f"{CANARY}@mail.test",
    "private_key_id": f"{CANARY}-id",
    "private_key": f"-----BEGIN PRIVATE KEY-----\n{CANARY}Line\n-----END PRIVATE KEY-----\n",
}
KEYS = {
    "AWS_ACCESS_KEY_ID": f"AKIA{CANARY}",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}SecretKey",
    "AWS_SESSION_TOKEN": f"{CANARY}SessionToken",
    "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(GOOGLE_KEY),
    "AZURE_STORAGE_ACCOUNT_NAME": CANARY.lower(),
    "AZURE_STORAGE_ACCOUNT_KEY": f"{CANARY}Key000",
    "AZURE_STORAGE_SAS_TOKEN": f"sv=2024-01-01&sp=rl&sig={CANARY}Signature",
    "HF_TOKEN": f"hf_{CANARY}Token",
}


def mounted(folder: Path, **other: str) -> Path:
    """The folder of a Secret with all of them, or with another value."""
    folder.mkdir(exist_ok=True)
    for key, value in (KEYS | other).items():
        (folder / key).write_text(value)
    return folder


def shows_a_secret(text: str) -> bool:
    """Whether a part of a value is in it, or a whole one as the API server has it."""
    coded = (base64.b64encode(value.encode()).decode() for value in KEYS.values())
    return CANARY.lower() in text.lower() or any(value in text for value in coded)


def files_that_show(folder: Path, words: Iterable[str], *, but: Iterable[Path] = ()) -> list[Path]:
    """The files below a folder, but for those below some, in which a secret or one of these words is."""
    words, spared = list(words), list(but)
    found = []
    for file in folder.rglob("*"):
        if file.is_file() and not any(file.is_relative_to(place) for place in spared):
            text = file.read_bytes().decode("latin-1")
            if shows_a_secret(text) or any(word in text for word in words):
                found.append(file)
    return found
