"""Whether the tensors of a trained model are what the training must have left behind, one tensor at a time."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open


@dataclass(frozen=True)
class Expectation:
    """What the trained model must look like."""

    shapes: Mapping[str, tuple[int, ...]]
    """Every tensor of the model's files, and no other."""
    base: Path
    """The folder with the base model's safetensors files."""
    base_names: Mapping[str, str]
    """The base model's name for each tensor that came from it; a tensor without one is new."""
    frozen: frozenset[str] = frozenset()
    """Tensors that must be there and be the base model's, bit for bit; of tied ones, the one that is stored."""
    may_be_unchanged: frozenset[str] = frozenset()
    """Trained tensors that no gradient may have reached, so that they may equal the base model's."""


@dataclass
class TensorCheck:
    """The comparison, file by file; `finish` judges what only the whole can tell."""

    expected: Expectation
    seen: set[str] = field(default_factory=set)
    changed: int = 0
    unchanged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open = ExitStack()
        self._base: dict[str, Any] = {}

    def __enter__(self) -> "TensorCheck":
        for path in sorted(self.expected.base.glob("*.safetensors")):
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
            yield f"{name} is no whole safetensors file ({error})"

    def finish(self) -> Iterator[str]:
        """The errors of the model as a whole."""
        for tensor in sorted((self.expected.shapes.keys() | self.expected.frozen) - self.seen):
            yield f"the tensor {tensor} is missing"
        if self.unchanged and not self.changed:
            yield f"none of the {len(self.unchanged)} trained tensors differs from the base model's"
            return
        for tensor in self.unchanged:
            yield f"the trained tensor {tensor} equals the base model's everywhere"

    def _tensor_errors(self, name: str, file: Any) -> Iterator[str]:
        if name in self.seen:
            yield f"the tensor {name} stands in two files"
        self.seen.add(name)
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
            if name in self.expected.frozen:
                yield f"the frozen tensor {name} has no counterpart in the base model"
            return
        if origin not in self._base:
            yield f"the base model has no tensor {origin} for {name}"
            return
        same = _same_bits(values, self._base[origin].get_tensor(origin))
        if name in self.expected.frozen:
            if not same:
                yield f"the frozen tensor {name} differs from the base model's"
        elif not same:
            self.changed += 1
        elif name not in self.expected.may_be_unchanged:
            self.unchanged.append(name)


def _same_bits(values: torch.Tensor, base: torch.Tensor) -> bool:
    """Whether the base's values, in the type that the trained tensor is stored in, are the trained ones bit for bit."""
    if values.shape != base.shape:
        return False
    cast = base.to(values.dtype)
    if values.numel() == 0:
        return True
    return torch.equal(_bytes(values), _bytes(cast))


def _bytes(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().reshape(-1).view(torch.uint8)
