"""From the manifest's model to a folder in Hugging Face format on this node."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_api.job import Model
from kubetune_trainer.model.gguf import converted
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.credentials import ENVIRONMENT, StoreCredentials
from kubetune_trainer.storage.models import fetch_model


@dataclass(frozen=True)
class PretrainedModel:
    """A pretrained model, ready for `from_pretrained`."""

    folder: Path
    """Configuration, safetensors weights and tokenizer."""
    files: tuple[StoredFile, ...]
    """What was fetched, under its own names: before any conversion."""


def pretrained_model(
    model: Model,
    cache: Path,
    language_model: Any,
    expect: tuple[StoredFile, ...] | None = None,
    credentials: StoreCredentials = ENVIRONMENT,
) -> PretrainedModel:
    """Fetches the model and, where it is a GGUF file, converts it with `language_model`, the auto class of transformers
    for what such a file holds. `expect` as in `fetch_model`."""
    fetched = fetch_model(model.uri, model.revision, cache, expect, credentials)
    if fetched.gguf is None:
        return PretrainedModel(fetched.folder, fetched.stored)
    digest = next(file.sha256 for file in fetched.weights)
    folder = converted(fetched.folder / fetched.gguf, cache, digest, language_model.__name__)
    return PretrainedModel(folder, fetched.stored)
