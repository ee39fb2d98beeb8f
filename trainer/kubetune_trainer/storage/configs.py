"""The JSON files of a model: transformers does what they say, so what reaches beyond the model's files is refused."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from kubetune_trainer.errors import invalid_model

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
"""The weights of a model in one file, and what names the files of several."""
QUANTISATION = "quantization_config"
_TOKENIZER_CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")
_HARMLESS = {"tokenizer_config.json": ("tokenizer_file", "special_tokens_map_file")}
"""Paths of their authors' machines that many models carry, and that transformers never opens."""
_OWN = {"vocab_file": ("vocab.txt", "vocab.json"), "merges_file": ("merges.txt",)}
"""Names of a tokenizer's own files, which many older models have."""
_FINDS_ITS_OWN = re.compile("(Bert|DistilBert|Electra|Roberta|GPT2|Qwen2)Tokenizer(Fast)?")
"""Classes that look for them in the folder, whatever the keys say; others would open a file of that name elsewhere."""
_MODELS = ("source_spm", "target_spm")
"""More keys of files, without the customary ending."""
_ATTENTION = ("attn_implementation", "_attn_implementation")
"""Where the value has a slash, it is a repository of the hub with compiled code."""
LARGEST_JSON = 64 * 2**20
"""Bytes of JSON that are parsed at most; the index of the largest public models is far smaller."""


def check_config(uri: str, folder: Path) -> None:
    """RunError unless the folder's configurations say what the model is, and ask for nothing but the model.

    An adapter need not have a config.json.
    """
    config = read_json(uri, folder / CONFIG) if (folder / CONFIG).exists() else None
    if config is not None and "model_type" not in config:
        raise invalid_model(f"{uri}/{CONFIG} has no model_type; take the file that came with the model.")
    for name in (CONFIG, GENERATION_CONFIG, *_TOKENIZER_CONFIGS):
        if (folder / name).exists():
            content = read_json(uri, folder / name)
            _refuse_code(f"{uri}/{name}", content)
            if name in _TOKENIZER_CONFIGS:
                harmless = [*_HARMLESS.get(name, ()), *_own_files(name, {**(config or {}), **content}, folder)]
                _refuse_paths(f"{uri}/{name}", sorted(_paths(content, harmless)))


def quantisation(config: dict[str, Any]) -> str | None:
    """How the weights are packed by the account of config.json, which may be left over from before their unpacking."""
    how = config.get(QUANTISATION)
    return str(how.get("quant_method") if isinstance(how, dict) else how) if how else None


def read_json(uri: str, path: Path) -> dict[str, Any]:
    """The object in a file of the model at `uri`; RunError if there is none."""
    if path.stat().st_size > LARGEST_JSON:
        raise invalid_model(f"{uri}/{path.name} is larger than {LARGEST_JSON >> 20} MiB, too large for such a file.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise invalid_model(f"{uri}/{path.name} is not a JSON object; take the file that came with the model.")
    return content


def _refuse_code(uri: str, content: dict[str, Any]) -> None:
    asking = [key for key in ("auto_map",) if key in content]
    asking += [key for key in _ATTENTION if "/" in str(content.get(key))]
    if asking:
        raise invalid_model(
            f"{uri} requires custom code ({asking[0]}), which is never run; choose a model that transformers itself"
            f" knows, or remove {asking[0]} if it does."
        )


def _paths(content: dict[str, Any], harmless: Collection[str]) -> Iterator[str]:
    """The keys by which a tokenizer's configuration has a file opened, which may be any of this machine.

    A vocabulary that is a text is the path of one; names of files are fine while they stay within the folder.
    """
    for key, value in content.items():
        if key in ("vocab", "merges") or (key.endswith("_file") and key not in harmless) or key in _MODELS:
            if isinstance(value, str):
                yield key
        elif key.endswith("_files") and isinstance(value, list) and any("/" in str(name) for name in value):
            yield key


def _own_files(name: str, content: dict[str, Any], folder: Path) -> Iterator[str]:
    """The keys that name the tokenizer's own files in the model's folder; those of the legacy map would be followed."""
    if name != _TOKENIZER_CONFIGS[0] or not _FINDS_ITS_OWN.fullmatch(str(content.get("tokenizer_class"))):
        return
    for key, own in _OWN.items():
        if content.get(key) in own and (folder / content[key]).is_file():
            yield key


def _refuse_paths(uri: str, keys: list[str]) -> None:
    if keys:
        raise invalid_model(
            f"{uri} names a file of the machine it is read on ({keys[0]}), which is never opened; remove {keys[0]}."
        )
