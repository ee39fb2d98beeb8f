"""Rows of an encoded split as padded tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kubetune_trainer.data.prepared import EncodedSplit

IGNORED = -100
"""The target of a position that no loss is counted for; torch's cross-entropy skips it."""


@dataclass(frozen=True)
class MicroBatch:
    """What one rank takes through the model at a time."""

    inputs: dict[str, torch.Tensor]
    """The model's arguments, each of shape [rows, longest]."""
    targets: torch.Tensor
    """Class indexes [rows], or token ids [rows, longest]; `IGNORED` where nothing is to be learned."""
    rows: NDArray[np.int64]
    """The rows' numbers in the split; empty for a batch that only keeps step with the other ranks."""


def row_targets(split: EncodedSplit) -> NDArray[np.int64]:
    """How many targets each row has, shape [rows]: one class, or the tokens of the completion."""
    if split.target_from is None:
        return np.ones(split.rows, dtype=np.int64)
    return split.lengths - split.target_from


def collate(split: EncodedSplit, rows: NDArray[np.int64], pad_token: int, device: torch.device) -> MicroBatch:
    """The rows, padded on the right to the longest. Without rows: the first row of the split with no target."""
    taken = rows if len(rows) else np.zeros(1, dtype=np.int64)
    starts, ends = split.offsets[taken], split.offsets[taken + 1]
    longest = int((ends - starts).max())
    shape = (len(taken), longest)
    tokens = np.full(shape, pad_token, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    types = np.zeros(shape, dtype=np.int64)
    next_tokens = np.full(shape, IGNORED, dtype=np.int64)
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        length = end - start
        tokens[i, :length] = split.tokens[start:end]
        mask[i, :length] = 1
        if split.token_types is not None:
            types[i, :length] = split.token_types[start:end]
        if split.target_from is not None:
            first = split.target_from[taken[i]]
            next_tokens[i, first:length] = split.tokens[start + first : end]
    inputs = {"input_ids": _tensor(tokens, device), "attention_mask": _tensor(mask, device)}
    if split.token_types is not None:
        inputs["token_type_ids"] = _tensor(types, device)
    targets = next_tokens if split.labels is None else split.labels[taken].astype(np.int64)
    if not len(rows):
        targets = np.full_like(targets, IGNORED)
    return MicroBatch(inputs, _tensor(targets, device), rows)


def _tensor(array: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)
