"""What a GGUF file says of its model's sizes, as a config.json would say it. Its head alone is read, without torch.

The head is a list of named values and a list of tensors: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

from kubetune_api.families import FAMILIES, not_supported
from kubetune_planner.shape import TIED

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The types of values that are numbers, as `struct` names them."""
_TEXT, _LIST = 8, 9
_LONGEST_TEXT, _MOST_ITEMS = 1 << 24, 1 << 22
"""Bytes of a text (a chat template has some thousands), items of a list (a vocabulary has some hundred thousand)."""
_SIZES = {
    "layers": "block_count",
    "hidden": "embedding_length",
    "intermediate": "feed_forward_length",
    "heads": "attention.head_count",
    "positions": "context_length",
}
_PLAIN = {
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
}
"""What config.json calls a size, and a GGUF file behind the name of its architecture."""


def config_of(file: Path) -> dict[str, Any]:
    """The sizes under the names of a config.json; ValueError with a sentence where the file does not say them."""
    with file.open("rb") as stream:
        values, tensors = _head(stream)
    architecture = str(values.get("general.architecture"))
    said = {name.removeprefix(f"{architecture}."): value for name, value in values.items()}
    kind = _type_of(architecture, has_experts=bool(said.get("expert_count")))
    names = FAMILIES[kind].names
    config = {names[size]: said.get(name) for size, name in _SIZES.items() if size in names}
    config |= {name: said[theirs] for name, theirs in _PLAIN.items() if theirs in said}
    config[names["vocabulary"]] = said.get("vocab_size", said.get("tokenizer.ggml.tokens"))
    return config | {
        "model_type": kind,
        TIED: "output.weight" not in tensors,
        # A row knows whether its family has them, but for some, where sizes differ.
        **({"attention_bias": True} if "blk.0.attn_q.bias" in tensors else {}),
    }


def _type_of(architecture: str, *, has_experts: bool) -> str:
    for name, row in FAMILIES.items():
        if (row.gguf or name) == architecture and bool(row.experts) == has_experts:
            return name
    raise ValueError(not_supported(architecture))


def _head(stream: BinaryIO) -> tuple[dict[str, Any], set[str]]:
    """The values by their names, of a list its length alone; and the names of the tensors."""
    if stream.read(4) != _MAGIC:
        raise ValueError("the file is no GGUF file")
    version = _number(stream, "I")
    if version not in _VERSIONS:
        raise ValueError(f"the file is of version {version} of GGUF; versions 2 and 3 can be read")
    tensors, count = _number(stream, "Q"), _number(stream, "Q")
    values = {}
    for _ in range(count):
        name = _text(stream)
        values[name] = _value(stream, _number(stream, "I"))
    return values, {_tensor(stream) for _ in range(tensors)}


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind in _NUMBERS:
        return _number(stream, _NUMBERS[kind])
    if kind == _TEXT:
        return _text(stream)
    if kind != _LIST:
        raise ValueError(f"the file has a value of type {kind}, which GGUF does not have")
    of, length = _number(stream, "I"), _number(stream, "Q")
    if length > _MOST_ITEMS:
        raise ValueError(f"a list in the file has {length} items")
    for _ in range(length):
        _value(stream, of)
    return length


def _tensor(stream: BinaryIO) -> str:
    name = _text(stream)
    for _ in range(_number(stream, "I")):
        _number(stream, "Q")
    _number(stream, "I"), _number(stream, "Q")
    return name


def _text(stream: BinaryIO) -> str:
    length = _number(stream, "Q")
    if length > _LONGEST_TEXT:
        raise ValueError(f"a text in the file has {length} bytes")
    return _bytes(stream, length).decode("utf-8", "replace")


def _number(stream: BinaryIO, kind: str) -> Any:
    return struct.unpack(f"<{kind}", _bytes(stream, struct.calcsize(f"<{kind}")))[0]


def _bytes(stream: BinaryIO, length: int) -> bytes:
    found = stream.read(length)
    if len(found) < length:
        raise ValueError("the file ends within its head; fetch it again")
    return found
