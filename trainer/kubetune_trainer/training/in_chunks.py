"""The loss over a large vocabulary, of some of the tokens at a time.

The scores of a micro-batch over the vocabulary, and what their loss keeps of them, are the largest tensors that a
training would make. Here the output layer gets the tokens that are targets alone, and of those so many at a time that
their scores have a bound; in the backward pass they are computed a second time.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from kubetune_api.families import FAMILIES
from kubetune_planner.logits import AT_A_TIME
from kubetune_trainer.tasks.base import IGNORED, IN_CHUNKS, Judge

_Found = tuple[torch.Tensor, ...]


def judge_in_chunks(model: Any, at_a_time: int = AT_A_TIME, *, always: bool = False) -> None:
    """Makes a language model take `targets` and `judge` as well, in place, for batches with more scores than
    `at_a_time`, or `always`, so that nothing is scored that is no target. It answers them with what `judge` says, in
    lines as long as those of the targets."""
    head, forward, vocabulary = model.get_output_embeddings(), model.forward, model.config.vocab_size
    head.forward = _judging(model, head, max(1, at_a_time // vocabulary))

    @wraps(forward)
    def judged(*arguments: Any, targets: torch.Tensor | None = None, judge: Judge | None = None, **inputs: Any) -> Any:
        if targets is None:
            return forward(*arguments, **inputs)
        # Before the model: finding them waits for what a GPU has still to do.
        places = (targets != IGNORED).reshape(-1).nonzero()[:, 0]
        # Every parameter takes part in the backward pass of every rank.
        places = places if len(places) else places.new_zeros(1)
        states = _last_states(model, inputs)[:, : targets.shape[1]].flatten(0, 1)[places]
        found = head(states, targets.reshape(-1)[places], judge)
        return tuple(each.new_zeros(targets.numel()).index_copy(0, places, each).view_as(targets) for each in found)

    model.forward = judged
    setattr(model, IN_CHUNKS, lambda tokens: always or tokens * vocabulary > at_a_time)


def _judging(model: Any, head: Any, tokens: int) -> Callable[..., Any]:
    """The forward pass of the output layer: within it, ZeRO has gathered its weights once for all chunks."""
    forward = head.forward

    @wraps(forward)
    def judged(states: torch.Tensor, targets: torch.Tensor | None = None, judge: Judge | None = None) -> Any:
        if targets is None or judge is None:
            return forward(states)

        def of_chunk(some: torch.Tensor, their: torch.Tensor) -> _Found:
            return judge(_bounded(model, forward(some)).float(), their)

        chunks = [*zip(torch.split(states, tokens), torch.split(targets, tokens), strict=True)]
        again = torch.is_grad_enabled() and len(chunks) > 1
        found = [_again(of_chunk, *chunk) if again else of_chunk(*chunk) for chunk in chunks]
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    return judged


def _again(function: Callable[..., _Found], *inputs: torch.Tensor) -> _Found:
    found: _Found = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return found


def _last_states(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """[rows, length, width]: what the output layer reads."""
    if model.base_model is not model:
        states: torch.Tensor = model.base_model(**inputs)[0]
        return states
    # T5 has no module around its encoder and its decoder.
    mask = inputs["attention_mask"]
    read = model.encoder(input_ids=inputs["input_ids"], attention_mask=mask)[0]
    states = model.decoder(
        input_ids=inputs["decoder_input_ids"],
        encoder_hidden_states=read,
        encoder_attention_mask=mask,
        use_cache=False,
    )[0]
    return states * model.model_dim**-0.5 if getattr(model.config, "scale_decoder_outputs", False) else states


def _bounded(model: Any, scores: torch.Tensor) -> torch.Tensor:
    """What transformers makes of the output layer's scores."""
    if (bias := getattr(model, "final_logits_bias", None)) is not None:
        scores = scores + bias
    names = FAMILIES[model.config.model_type].bounds
    bound = getattr(model.config, names[1]) if names else None
    return scores if bound is None else torch.tanh(scores / bound) * bound
