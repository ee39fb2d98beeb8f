"""Rows of an encoded split as padded tensors."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.tasks.base import IGNORED, MicroBatch
from kubetune_trainer.training.joined import tell_lengths


def collate(split: EncodedSplit, rows: NDArray[np.int64], pad_token: int, device: torch.device) -> MicroBatch:
    """The sequences of the rows, row by row, padded on the right to the longest. Without rows: the first row of the
    split with no target."""
    taken = rows if len(rows) else np.zeros(1, dtype=np.int64)
    sequences = split.sequences(taken)
    starts, ends = split.offsets[sequences], split.offsets[sequences + 1]
    longest = int((ends - starts).max())
    shape = (len(sequences), longest)
    tokens = np.full(shape, pad_token, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    types = np.zeros(shape, dtype=np.int64)
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        length = end - start
        tokens[i, :length] = split.tokens[start:end]
        mask[i, :length] = 1
        if split.token_types is not None:
            types[i, :length] = split.token_types[start:end]
    inputs = {"input_ids": _tensor(tokens, device), "attention_mask": _tensor(mask, device)}
    tell_lengths(inputs["attention_mask"], ends - starts)
    if split.token_types is not None:
        inputs["token_type_ids"] = _tensor(types, device)
    targets = split.targets.padded(split, taken, longest)
    if not len(rows):
        targets = np.full_like(targets, IGNORED if np.issubdtype(targets.dtype, np.integer) else np.nan)
    reference = None if split.reference is None else _tensor(split.reference[taken], device)
    return MicroBatch(inputs, _tensor(targets, device), rows, reference)


def _tensor(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)
