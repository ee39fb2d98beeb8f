"""The JSON files of a model: transformers does what they say, so what reaches beyond the model's files is refused."""

import json
from pathlib import Path
from typing import Any

from kubetune_trainer.errors import invalid_model

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
_OPENED = {
    CONFIG: (),
    GENERATION_CONFIG: (),
    "tokenizer_config.json": ("vocab", "merges"),
    "special_tokens_map.json": ("vocab", "merges", "vocab_file", "merges_file", "tokenizer_file"),
}
"""What transformers opens where its value is a text: any path of this machine, which a vocabulary would carry off."""
_ATTENTION = ("attn_implementation", "_attn_implementation")
"""Where the value has a slash, it is a repository of the hub with compiled code."""
_LARGEST_JSON = 64 * 2**20
"""Bytes of JSON that are parsed at most; the index of the largest public models is far smaller."""


def check_config(uri: str, folder: Path) -> None:
    """RunError unless the folder's configurations say what the model is, and ask for nothing but the model."""
    if "model_type" not in read_json(uri, folder / CONFIG):
        raise invalid_model(f"{uri}/{CONFIG} has no model_type; take the file that came with the model.")
    for name, opened in _OPENED.items():
        if (folder / name).exists():
            content = read_json(uri, folder / name)
            _refuse_code(f"{uri}/{name}", content)
            _refuse_paths(f"{uri}/{name}", [key for key in opened if isinstance(content.get(key), str)])


def read_json(uri: str, path: Path) -> dict[str, Any]:
    """The object in a file of the model at `uri`; RunError if there is none."""
    if path.stat().st_size > _LARGEST_JSON:
        raise invalid_model(f"{uri}/{path.name} is larger than {_LARGEST_JSON >> 20} MiB, too large for such a file.")
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


def _refuse_paths(uri: str, keys: list[str]) -> None:
    if keys:
        raise invalid_model(
            f"{uri} names a file of the machine it is read on ({keys[0]}), which is never opened; remove {keys[0]}."
        )
