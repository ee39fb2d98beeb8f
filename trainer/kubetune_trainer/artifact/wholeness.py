"""Whether a folder is a whole model, by the names of its files, its JSON and the headers of its weights.

No number of it is looked at, and no library opens it: this is what can be asked of any model from anywhere.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kubetune_trainer.storage.configs import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG, INDEX, WEIGHTS
from kubetune_trainer.storage.safetensors_header import StoredTensor, tensors_in

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model")
"""Each of them alone is a tokenizer."""
SAFETENSORS, JSON = ".safetensors", ".json"
"""How the names of files end whose beginning, or whose whole, is looked at."""
_NEEDED = {CONFIG: "model_type", ADAPTER_CONFIG: "peft_type"}
"""What a configuration must say."""


@dataclass
class ModelFolder:
    """A model's folder, as far as it has been read; names are relative to it."""

    names: set[str] = field(default_factory=set)
    content: dict[str, Any] = field(default_factory=dict)
    """What the JSON files say."""
    tensors: dict[str, dict[str, StoredTensor]] = field(default_factory=dict)
    """By the file of weights."""
    unreadable: list[str] = field(default_factory=list)
    """What is wrong with single files."""

    def add(self, name: str, size: int, beginning: bytes) -> None:
        """A file of `size` bytes, and its `beginning`: a JSON file's whole text, the header of weights."""
        self.names.add(name)
        try:
            if name.endswith(SAFETENSORS):
                self.tensors[name] = tensors_in(beginning, size)
            elif name.endswith(JSON):
                self.content[name] = json.loads(beginning)
        except (ValueError, RecursionError) as error:
            why = f"is no whole safetensors file: {error}" if name.endswith(SAFETENSORS) else "is not JSON"
            self.unreadable.append(f"{name} {why}")

    @property
    def is_adapter(self) -> bool:
        """Whether it is trained on top of another model."""
        return ADAPTER_CONFIG in self.names

    @property
    def types(self) -> dict[str, int]:
        """How many numbers there are of each type."""
        found: Counter[str] = Counter()
        for tensors in self.tensors.values():
            for tensor in tensors.values():
                found[tensor.kind] += tensor.numbers
        return dict(sorted(found.items()))

    def errors(self) -> Iterator[str]:
        """Why it is no whole model, a sentence each."""
        yield from self.unreadable
        needed = {CONFIG, ADAPTER_CONFIG, ADAPTER_WEIGHTS} if self.is_adapter else {CONFIG}
        for name in sorted(needed - self.names):
            yield f"{name} is missing"
        for name in sorted(needed & self.content.keys() & _NEEDED.keys()):
            content = self.content[name]
            if not isinstance(content, dict) or _NEEDED[name] not in content:
                yield f"{name} has no {_NEEDED[name]}"
        if not self.names.intersection(TOKENIZERS):
            yield "there is no tokenizer"
        if not self.is_adapter:
            yield from self._weight_errors()
        yield from self._tensor_errors()

    def _weight_errors(self) -> Iterator[str]:
        if INDEX in self.content:
            yield from self._index_errors(self.content[INDEX])
        elif WEIGHTS not in self.names and INDEX not in self.names:
            yield f"there are no weights: neither {WEIGHTS} nor {INDEX}"

    def _index_errors(self, index: Any) -> Iterator[str]:
        places = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
            yield f"{INDEX} has no weight_map"
            return
        for file in sorted(set(places.values()) - self.names):
            yield f"{file} is missing, which {INDEX} names"
        for tensor, file in sorted(places.items()):
            if file in self.tensors and tensor not in self.tensors[file]:
                yield f"{file} lacks the tensor {tensor}, which {INDEX} names"
        for file, tensors in sorted(self.tensors.items()):
            for tensor in sorted(tensors.keys() - places.keys()):
                yield f"{INDEX} does not name the tensor {tensor} of {file}"

    def _tensor_errors(self) -> Iterator[str]:
        seen: set[str] = set()
        for file, tensors in sorted(self.tensors.items()):
            if not tensors:
                yield f"{file} holds no tensor"
            for tensor in sorted(seen & tensors.keys()):
                yield f"the tensor {tensor} is in two files"
            seen |= tensors.keys()
