"""From the manifest's model to a folder in Hugging Face format on this node."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_api.job import Model
from kubetune_api.tables import listed
from kubetune_trainer.errors import RunError, invalid_model
from kubetune_trainer.model.gguf import converted
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.adapters import adapter_settings
from kubetune_trainer.storage.configs import ADAPTER_CONFIG
from kubetune_trainer.storage.credentials import ENVIRONMENT, StoreCredentials
from kubetune_trainer.storage.models import ModelFiles, fetch_model, put_together


@dataclass(frozen=True)
class PretrainedModel:
    """A pretrained model, ready for `from_pretrained`."""

    folder: Path
    """Configuration, safetensors weights and tokenizer; in a folder of its own the adapter to train on."""
    files: tuple[StoredFile, ...]
    """What was fetched of it, under its own names: before any conversion."""
    source: Model
    """Where the weights are from: the manifest's model, or the base of the adapter that it names."""
    adapter_files: tuple[StoredFile, ...] = ()
    """What was fetched of the adapter."""


def pretrained_model(
    model: Model,
    cache: Path,
    language_model: Any,
    expect: tuple[tuple[StoredFile, ...], tuple[StoredFile, ...]] | None = None,
    credentials: StoreCredentials = ENVIRONMENT,
    tell: Callable[[str], None] = lambda _: None,
) -> PretrainedModel:
    """Fetches the model, or the adapter with its base, and `tell`s of the latter. Where it is a GGUF file, it is
    converted with `language_model`, the auto class of transformers for what such a file holds.

    `expect` as in `fetch_model`: the files of the model, and those of the adapter.
    """
    whole, matrices = expect or (None, None)
    fetched = fetch_model(model.uri, model.revision, cache, matrices or whole, credentials)
    if fetched.is_adapter:
        base = adapter_settings(model.uri, fetched.folder).base
        credentials.refuse_forbidden(base.uri, "the base model of the adapter")
        tell(
            f"{model.uri} is an adapter, which is trained on; its base model is fetched too: {base.uri}"
            f"{f' at {base.revision}' if base.revision else ''}"
        )
        below = _base_of(model, base, cache, whole, credentials)
        _refuse_no_base(model, base, below)
        if fetched.unread:
            tell(
                f"{model.uri} has {listed(fetched.unread)}, but no tokenizer (tokenizer.json, vocab.txt or merges.txt):"
                " the tokenizer of the base model is used as it is; to use the adapter's own, add its tokenizer.json"
            )
        return PretrainedModel(put_together(fetched, below, cache), below.stored, base, fetched.stored)
    if fetched.gguf is None:
        return PretrainedModel(fetched.folder, fetched.stored, model)
    digest = next(file.sha256 for file in fetched.weights)
    folder = converted(fetched.folder / fetched.gguf, cache, digest, language_model.__name__)
    return PretrainedModel(folder, fetched.stored, model)


def _base_of(
    model: Model, base: Model, cache: Path, expect: tuple[StoredFile, ...] | None, credentials: StoreCredentials
) -> ModelFiles:
    try:
        return fetch_model(base.uri, base.revision, cache, expect, credentials)
    except RunError as error:
        raise RunError(
            error.reason,
            f"{error.message} {ADAPTER_CONFIG} of {model.uri} names that base model; if it is elsewhere now, correct"
            " base_model_name_or_path there.",
        ) from error


def _refuse_no_base(model: Model, base: Model, fetched: ModelFiles) -> None:
    if fetched.is_adapter or fetched.gguf is not None:
        what = "an adapter itself" if fetched.is_adapter else "a GGUF file"
        raise invalid_model(
            f"spec.model.uri: the base model that {model.uri} names, {base.uri}, is {what}; merge the adapter, and"
            " train on from that."
        )
