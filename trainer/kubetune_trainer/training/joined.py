"""The sequences of a batch one behind another, so that nothing is computed for padding.

Between the embeddings and the last layer a model of a family that can gets one sequence of all real tokens, whose
positions begin anew with each row, and an attention that never looks into another row. What is around it, the heads and
the losses of the tasks, sees the padded lines that it gave, and zeros at the places of padding.

Where rows begin goes through the model as its attention mask, a tensor of four dimensions and of a type that no mask
has: transformers hands such a mask to every layer as it is, and so do DeepSpeed's hooks and checkpointed layers.
"""

from functools import cached_property, lru_cache
from inspect import signature
from itertools import groupby, pairwise
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

from kubetune_api.families import FAMILIES

_ATTENTION = "kubetune_rows"
_BORDERS = torch.int32
"""No mask of transformers is of this type."""
_HALF = (torch.bfloat16, torch.float16)
_AMPERE = (8, 0)
"""The first GPUs that the kernel of torch for rows of unequal length runs on."""
_WIDEST_HEAD, _HEADS_COME_IN = 256, 8
"""The widths of heads that the kernel takes; torch's other attention pads those between."""
_LENGTHS: Any = WeakTensorKeyDictionary()
"""Of masks whose rows begin at the left: [rows], in main memory."""


class Joined:
    """What a model is given and gives back, once its batches are joined."""

    def __init__(self, model: Any) -> None:
        self._base = model.base_model
        self._family = FAMILIES[model.config.model_type]
        self._names = tuple(signature(self._base.forward).parameters)
        self._batch: _Batch | None = None
        model.set_attn_implementation(_ATTENTION)
        self._base.register_forward_pre_hook(self._join, with_kwargs=True)
        # A pooler behind the layers takes the first token of each line.
        body = self._family.layers.rpartition(".")[0].partition(".")[0]
        self._base.get_submodule(body).register_forward_hook(self._part)

    @property
    def lengths(self) -> torch.Tensor | None:
        """[tokens]: how long the row of each token is, while a batch is within the model that is joined."""
        return None if self._batch is None else self._batch.length_of_each

    def _join(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        named = {**dict(zip(self._names, given, strict=False)), **named}
        mask = named.get("attention_mask")
        self._batch = None
        # With keys and values of earlier tokens it writes an answer.
        if mask is None or mask.ndim != 2 or named.get("past_key_values") is not None or named.get("use_cache"):
            return (), named
        batch = self._batch = _Batch(mask)
        positions = named.get("position_ids")
        if positions is None:
            positions = self._positions(named["input_ids"])
        for name, lines in named.items():
            if name in ("input_ids", "token_type_ids") and lines is not None:
                named[name] = batch.joined(lines)
        return (), {**named, "attention_mask": batch.borders, "position_ids": batch.joined(positions)}

    def _positions(self, tokens: torch.Tensor) -> torch.Tensor:
        if self._family.position_offset:
            embeddings = self._base.embeddings
            return cast(torch.Tensor, embeddings.create_position_ids_from_input_ids(tokens, embeddings.padding_idx))
        return torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)

    def _part(self, _: nn.Module, __: Any, output: Any) -> Any:
        batch, self._batch = self._batch, None
        if batch is None:
            return output
        if isinstance(output, tuple):
            return batch.parted(output[0]), *output[1:]
        output.last_hidden_state = batch.parted(output.last_hidden_state)
        return output


class _Batch:
    """Which places of the padded lines have a token."""

    def __init__(self, mask: torch.Tensor) -> None:
        self._shape, self._device = mask.shape, mask.device
        lengths = _LENGTHS.get(mask)
        if lengths is None:
            # On a GPU, the program waits here for all that the GPU has still to do.
            mask = mask.cpu()
            self._lengths = mask.sum(dim=1)
        else:
            self._lengths = torch.from_numpy(lengths)
            mask = torch.arange(mask.shape[1]) < self._lengths[:, None]
        self._places = mask.reshape(-1).nonzero()[:, 0].to(self._device, non_blocking=True)

    @cached_property
    def borders(self) -> torch.Tensor:
        """[1, 1, 1, rows + 1], in main memory: where each row begins among the tokens, and where the last one ends."""
        ends = self._lengths.cumsum(dim=0)
        return torch.cat([ends.new_zeros(1), ends]).to(_BORDERS).reshape(1, 1, 1, -1)

    @property
    def length_of_each(self) -> torch.Tensor:
        """[tokens]: that of the row of each."""
        return self._lengths.repeat_interleave(self._lengths).to(self._device, non_blocking=True)

    def joined(self, lines: torch.Tensor) -> torch.Tensor:
        """[1, tokens]"""
        return lines.reshape(-1)[self._places][None]

    def parted(self, states: torch.Tensor) -> torch.Tensor:
        """[rows, longest, …], of [1, tokens, …]."""
        lines = states.new_zeros(self._shape.numel(), *states.shape[2:])
        return lines.index_copy(0, self._places, states[0]).reshape(*self._shape, *states.shape[2:])


def tell_lengths(mask: torch.Tensor, lengths: NDArray[np.int64]) -> None:
    """How long the rows are that a mask says, which begin at the left: a GPU need not be asked."""
    _LENGTHS[mask] = lengths


def joins_rows(model: Any) -> bool:
    """Whether a model is of a family that can."""
    family = FAMILIES.get(getattr(model.config, "model_type", ""))
    return family is not None and family.joins_rows


def join_rows(model: Any) -> Joined | None:
    """Makes a model join its batches from now on; None where its family cannot."""
    return Joined(model) if joins_rows(model) else None


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention by torch, and within each row alone where the mask says where rows begin."""
    if attention_mask is None or attention_mask.dtype != _BORDERS:
        return cast(
            tuple[torch.Tensor, None],
            sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, is_causal, **more),
        )
    borders = tuple(attention_mask.reshape(-1).tolist())
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if _has_kernel(query, dropout):
        return _by_kernel(query, key, value, borders, scaling, causal, sliding_window), None
    return _by_groups(module, query, key, value, borders, dropout, scaling, causal, sliding_window), None


def _by_groups(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: tuple[int, ...],
    dropout: float,
    scaling: float | None,
    causal: bool,
    window: int | None,
) -> torch.Tensor:
    """[1, tokens, heads, width]: rows of equal length that are neighbours at once."""
    groups = [(length, len([*of_it])) for length, of_it in groupby(end - start for start, end in pairwise(borders))]
    sizes = [length * rows for length, rows in groups]
    found = []
    parts = zip(*(torch.split(each, sizes, dim=2) for each in (query, key, value)), strict=True)
    for (length, rows), of_group in zip(groups, parts, strict=True):
        lines = (part[0].unflatten(1, (rows, length)).transpose(0, 1) for part in of_group)
        near = _near(length, window, causal, query.device)
        states, _ = sdpa_attention_forward(module, *lines, near, dropout, scaling, causal)
        found.append(states.flatten(0, 1))
    return torch.cat(found)[None]


def _near(length: int, window: int | None, causal: bool, device: torch.device) -> torch.Tensor | None:
    """The mask of a row whose tokens see those around them alone; None where all of it is around them."""
    if window is None or length <= window:
        return None
    places = torch.arange(length, device=device)
    distances = places[:, None] - places[None, :]
    seen = distances.abs() < window
    return (seen & (distances >= 0) if causal else seen)[None, None]


def _has_kernel(query: torch.Tensor, dropout: float) -> bool:
    """Whether torch has a kernel for rows of unequal length that computes this."""
    if query.device.type != "cuda" or query.dtype not in _HALF or dropout:
        return False
    if query.shape[-1] > _WIDEST_HEAD or query.shape[-1] % _HEADS_COME_IN:
        return False
    return torch.version.hip is None and torch.cuda.get_device_capability(query.device) >= _AMPERE


def _by_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: tuple[int, ...],
    scaling: float | None,
    causal: bool,
    window: int | None,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    starts, longest = _on(query.device, borders), max(end - start for start, end in pairwise(borders))
    before = -1 if window is None else window - 1
    queries, keys, values = (each[0].transpose(0, 1) for each in (query, key, value))
    states = varlen_attn(
        queries,
        keys,
        values,
        starts,
        starts,
        longest,
        longest,
        scale=scaling,
        window_size=(before, 0 if causal else before),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return cast(torch.Tensor, states)[None]


@lru_cache(maxsize=4)
def _on(device: torch.device, borders: tuple[int, ...]) -> torch.Tensor:
    """Once for all layers of a pass."""
    return torch.tensor(borders, dtype=torch.int32, device=device)


AttentionInterface.register(_ATTENTION, _attend)
AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
