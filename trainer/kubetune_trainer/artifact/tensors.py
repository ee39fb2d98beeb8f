"""Whether the tensors of a trained model are what the training must have left behind, one tensor at a time."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from kubetune_trainer.comparison import Compared
from kubetune_trainer.model.stored import as_bytes, tensor_digest
from kubetune_trainer.records import Expectation


@dataclass
class TensorCheck:
    """The comparison, file by file; `finish` judges what only the whole can tell."""

    expected: Expectation
    base: Path
    """The folder with the base model's safetensors files."""
    found: Compared = field(default_factory=Compared)

    def __post_init__(self) -> None:
        self._open = ExitStack()
        self._base: dict[str, Any] = {}

    def __enter__(self) -> "TensorCheck":
        for path in sorted(self.base.glob("*.safetensors")):
            file = self._open.enter_context(safe_open(path, framework="pt"))
            self._base.update(dict.fromkeys(file.keys(), file))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def file_errors(self, path: Path, name: str) -> Iterator[str]:
        """The errors of one safetensors file; `name` is what people know it by."""
        try:
            with safe_open(path, framework="pt") as file:
                for tensor in file.keys():  # noqa: SIM118 - it is no mapping
                    yield from self._tensor_errors(tensor, file)
        except (SafetensorError, ValueError) as error:
            yield f"{name} is not a complete safetensors file ({error})"

    def take(self, found: Compared) -> Iterator[str]:
        """Adds what somebody else has found in other files."""
        here = self.found
        for tensor in sorted(here.seen & found.seen):
            yield f"the tensor {tensor} is in two files"
        here.seen |= found.seen
        here.changed += found.changed
        here.trained += found.trained
        here.moved += found.moved
        here.unchanged += found.unchanged
        here.untrained += found.untrained

    def finish(self) -> Iterator[str]:
        """The errors of the model as a whole."""
        for tensor in sorted((self.expected.shapes.keys() | self.expected.frozen) - self.found.seen):
            yield f"the tensor {tensor} is missing"
        if self.found.trained and not self.found.moved:
            yield f"none of the {self.found.trained} trained tensors has changed since the first step"
            return
        for tensor in self.found.untrained:
            yield f"the tensor {tensor} has its first values everywhere: it was never trained"
        if self.found.unchanged and not self.found.changed:
            yield f"none of the {len(self.found.unchanged)} trained tensors differs from the base model's"
            return
        for tensor in self.found.unchanged:
            yield f"the trained tensor {tensor} equals the base model's everywhere"

    def _tensor_errors(self, name: str, file: Any) -> Iterator[str]:
        if name in self.found.seen:
            yield f"the tensor {name} is in two files"
        self.found.seen.add(name)
        if name not in self.expected.shapes:
            yield f"the tensor {name} is not of this model"
            return
        shape = tuple(file.get_slice(name).get_shape())
        if shape != tuple(self.expected.shapes[name]):
            yield f"the tensor {name} has the shape {shape}, not {tuple(self.expected.shapes[name])}"
            return
        values = file.get_tensor(name)
        if strange := int((~torch.isfinite(values)).sum()):
            yield f"the tensor {name} holds {strange} values that are not finite"
            return
        yield from self._compare(name, values)

    def _compare(self, name: str, values: torch.Tensor) -> Iterator[str]:
        origin = self.expected.base_names.get(name)
        if origin is None:
            yield from self._compare_with_first_values(name, values)
            return
        if origin not in self._base:
            yield f"the base model has no tensor {origin} for {name}"
            return
        same = _same_bits(values, self._base[origin].get_tensor(origin))
        if name in self.expected.frozen:
            if not same:
                yield f"the frozen tensor {name} differs from the base model's"
        elif not self._is_as_it_was(same=same):
            self.found.changed += 1
        elif name not in self.expected.may_be_unchanged:
            self.found.unchanged.append(name)

    def _compare_with_first_values(self, name: str, values: torch.Tensor) -> Iterator[str]:
        """Of a new tensor, or one that was joined from several of the base model's."""
        same = self._has_first_values(name, values)
        if name in self.expected.frozen:
            if name not in self.expected.first_values:
                yield f"the frozen tensor {name} has no counterpart in the base model"
            elif not same:
                yield f"the frozen tensor {name} differs from the base model's"
        elif self._is_as_it_was(same=same) and name not in self.expected.may_be_unchanged:
            self.found.untrained.append(name)

    def _is_as_it_was(self, *, same: bool) -> bool:
        """Counts a trained tensor."""
        self.found.trained += 1
        self.found.moved += not same
        return same

    def _has_first_values(self, name: str, values: torch.Tensor) -> bool:
        first = self.expected.first_values.get(name)
        return first is not None and first == tensor_digest(values)


def _same_bits(values: torch.Tensor, base: torch.Tensor) -> bool:
    """Whether the base's values, in the type that the trained tensor is stored in, are the trained ones bit for bit."""
    if values.shape != base.shape:
        return False
    cast = base.to(values.dtype)
    if values.numel() == 0:
        return True
    return torch.equal(as_bytes(values), as_bytes(cast))
