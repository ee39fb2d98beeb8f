"""Where pretrained models come from: only safetensors or GGUF weights, never a pickle, never remote code."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_trainer.errors import RunError, invalid_model
from kubetune_trainer.records import LocalFile, StoredFile
from kubetune_trainer.storage.store import ObjectInfo
from kubetune_trainer.storage.trees import Source, fetch, open_source
from kubetune_trainer.storage.weights import check_gguf, check_safetensors

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model.*\.safetensors")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "merges.txt")
_BESIDE = (
    *_TOKENIZERS,
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "chat_template.jinja",
)
_SENTENCEPIECE = ".model"
_GGUF = ".gguf"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_LARGEST_JSON = 64 * 2**20
"""Bytes of JSON that are parsed at most; the index of the largest public models is far smaller."""


@dataclass(frozen=True)
class ModelFiles:
    """A pretrained model on this machine, as transformers reads it."""

    folder: Path
    """What `from_pretrained` is given."""
    files: tuple[LocalFile, ...]
    gguf: Path | None = None
    """The GGUF file, if the weights come in one."""

    @property
    def weights(self) -> tuple[LocalFile, ...]:
        """The files that hold tensors."""
        return tuple(file for file in self.files if file.path.name.endswith((".safetensors", _GGUF)))

    @property
    def stored(self) -> tuple[StoredFile, ...]:
        """The files for the manifest."""
        return tuple(file.stored for file in self.files)


def fetch_model(uri: str, revision: str | None, into: Path, expect: tuple[StoredFile, ...] | None = None) -> ModelFiles:
    """The model's files on this machine, checked: whole, safe, complete.

    `into` is a cache folder. `expect` are the files that another process of this run saw: a model that changed since is
    refused.
    """
    source, path = open_source(uri, revision)
    chosen = _chosen(uri, source, path)
    is_gguf = chosen[0].path.endswith(_GGUF)
    files = fetch(source, chosen, into)
    model = ModelFiles(files[0].path.parent, tuple(files), files[0].path if is_gguf else None)
    _check_unchanged(uri, model, expect)
    if is_gguf:
        check_gguf(files[0].path, files[0].uri)
    else:
        _check_config(uri, model.folder)
        _check_weights(uri, model.folder, {file.path.name for file in model.weights})
    return model


def _chosen(uri: str, source: Source, path: str) -> list[ObjectInfo]:
    """Which of the objects are fetched: one GGUF file, or the files of a safetensors model."""
    folder, _, name = path.rpartition("/")
    names_file = name.endswith(_GGUF)
    objects = {info.path.rpartition("/")[2]: info for info in source.children(folder if names_file else path)[1]}
    if names_file:
        if name not in objects:
            raise invalid_model(f"There is no file {uri}; correct the URI.")
        return [objects[name]]
    if not objects:
        raise invalid_model(f"{uri} holds no file; a model's URI names the folder that holds its config.json.")
    weights = _weights(uri, objects)
    if weights[0].endswith(_GGUF):
        return [objects[weights[0]]]
    if _CONFIG not in objects:
        raise invalid_model(f"{uri} has no config.json, which says what kind of model it is; add it.")
    if not any(name in _TOKENIZERS or name.endswith(_SENTENCEPIECE) for name in objects):
        raise invalid_model(f"{uri} has no tokenizer (tokenizer.json, vocab.txt or *.model); add the model's own.")
    beside = [name for name in objects if name in _BESIDE or name.endswith(_SENTENCEPIECE)]
    return [objects[name] for name in sorted({_CONFIG, *weights, *beside})]


def _weights(uri: str, objects: dict[str, ObjectInfo]) -> list[str]:
    """The names of the safetensors files (and their index), or of the one GGUF file."""
    if _WEIGHTS in objects:
        return [_WEIGHTS]
    if _INDEX in objects:
        return [_INDEX, *(name for name in objects if _SHARD.fullmatch(name))]
    ggufs = [name for name in objects if name.endswith(_GGUF)]
    if len(ggufs) == 1:
        return ggufs
    if ggufs:
        raise invalid_model(f"{uri} holds {len(ggufs)} GGUF files; name one of them, such as {uri}/{min(ggufs)}.")
    if "adapter_config.json" in objects:
        raise invalid_model(f"{uri} holds a LoRA adapter, not a model; merge it into its base model first.")
    pickles = sorted(name for name in objects if name.endswith(_PICKLES))
    if pickles:
        raise invalid_model(
            f"{uri} holds only pickled weights ({pickles[0]}), which can run code when loaded; convert them to"
            " safetensors where that is safe: AutoModel.from_pretrained(folder).save_pretrained(new_folder)."
        )
    raise invalid_model(f"{uri} holds no weights: there is neither {_WEIGHTS} nor {_INDEX} nor a .gguf file.")


def _check_unchanged(uri: str, model: ModelFiles, expect: tuple[StoredFile, ...] | None) -> None:
    if expect is None:
        return
    before, now = ({file.name: file for file in files} for files in (expect, model.stored))
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        raise invalid_model(f"{uri} changed while the run was starting: {changed[0]} is another file now; start again.")


def _check_config(uri: str, folder: Path) -> None:
    config = _json(uri, folder / _CONFIG)
    if "model_type" not in config:
        raise invalid_model(f"{uri}/{_CONFIG} has no model_type; take the file that came with the model.")
    for name in (_CONFIG, "tokenizer_config.json"):
        if (folder / name).exists() and "auto_map" in _json(uri, folder / name):
            raise invalid_model(
                f"{uri}/{name} asks for code of its own (auto_map), which is never run; choose a model that"
                " transformers itself knows, or remove auto_map if it does."
            )


def _check_weights(uri: str, folder: Path, present: set[str]) -> None:
    tensors = {name: check_safetensors(folder / name, f"{uri}/{name}") for name in sorted(present)}
    if not (folder / _INDEX).exists():
        return
    mapping = _json(uri, folder / _INDEX).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise invalid_model(f"{uri}/{_INDEX} has no weight_map; take the file that came with the model.")
    for tensor, shard in sorted(mapping.items()):
        if shard not in tensors:
            raise _incomplete(uri, f"the file {shard} is missing")
        if tensor not in tensors[shard]:
            raise _incomplete(uri, f"{shard} lacks the tensor {tensor}")


def _incomplete(uri: str, what: str) -> RunError:
    return invalid_model(f"{uri} is incomplete: {what}, though {_INDEX} names it; copy the model again.")


def _json(uri: str, path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_JSON:
        raise invalid_model(f"{uri}/{path.name} is larger than {_LARGEST_JSON >> 20} MiB; this is no such file.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise invalid_model(f"{uri}/{path.name} is not a JSON object; take the file that came with the model.")
    return content
