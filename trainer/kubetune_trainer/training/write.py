"""What a model writes to some rows of a split, in batches that all ranks share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from transformers import GenerationConfig, StoppingCriteriaList

from kubetune_api.job import Generation
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.model.languages import beginning
from kubetune_trainer.model.load import longest_sequence
from kubetune_trainer.model.stops import stops_of
from kubetune_trainer.records import Answer
from kubetune_trainer.shown_rows import WrittenAnswer
from kubetune_trainer.tasks.base import TrainingTask
from kubetune_trainer.training.batches import split_for_evaluation
from kubetune_trainer.watchdog.pulse import ASKING, MEASURING, PULSE, WRITING


@dataclass(frozen=True)
class Asking:
    """Whom to ask for answers, and how."""

    engine: Any
    task: TrainingTask
    split: EncodedSplit
    wanted: Generation
    tokenizer: Any
    micro_batch_size: int
    tell: Callable[[int, int], object]
    """Called on every rank after each batch: how many rows of how many have an answer."""


@torch.no_grad()
def write(asking: Asking, chosen: Sequence[int]) -> list[WrittenAnswer]:
    """Asks the model for the answers of these rows of the split; every rank takes a share and returns that.

    Every rank writes as many batches, and under ZeRO-3 as many tokens of each: the others need its part of the weights.
    So the longest prompt of all ranks says how many positions are left.
    """
    engine, tokenizer, task = asking.engine, asking.tokenizer, asking.task
    assert task.generation is not None
    asked = [task.generation.asked(asking.split, row) for row in chosen]
    longest = min(asking.wanted.max_new_tokens, 2 * max(len(answer.tokens) for answer in asked))
    model, rank, workers = engine.module, dist.get_rank(), dist.get_world_size()
    settings = _greedy(model.generation_config)
    settings.update(**beginning(tokenizer))
    lengths = np.array([len(answer.prompt) for answer in asked], dtype=np.int64)
    found: list[WrittenAnswer] = []
    done = 0
    engine.eval()
    for shares in split_for_evaluation(lengths, asking.micro_batch_size, workers):
        places = shares[rank].tolist()
        inputs = _padded(
            [asked[place].prompt for place in places or [0]], model.config, tokenizer.pad_token_id, engine.device
        )
        prompts = [len(asked[place].prompt) for share in shares for place in share]
        settings.max_new_tokens = _room(prompts, model, longest)
        out = _continued(engine, inputs, settings)
        before = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        for place, tokens in zip(places, out[:, before:].tolist(), strict=False):
            found.append(_told(chosen[place], asked[place], tokens, tokenizer))
        done += len(prompts)
        asking.tell(done, len(asked))
    PULSE.mark(MEASURING)
    engine.train()
    return found


def _continued(engine: Any, inputs: dict[str, torch.Tensor], settings: GenerationConfig) -> torch.Tensor:
    """What the model writes to a batch of prompts, behind those where it has no encoder."""
    PULSE.mark(ASKING)
    with _nothing_else(engine.module):
        written: torch.Tensor = engine.module.generate(
            **inputs,
            generation_config=settings,
            stopping_criteria=StoppingCriteriaList([_goes_on]),
            synced_gpus=_in_step(engine, dist.get_world_size()),
        )
    return written


def _goes_on(rows: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    """Called after each token, and stops none of the rows."""
    PULSE.mark(WRITING)
    return torch.zeros(len(rows), dtype=torch.bool, device=rows.device)


def _greedy(given: GenerationConfig) -> GenerationConfig:
    """The most probable token each time, up to the tokens that the model stops at."""
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        eos_token_id=stops_of(given),
        pad_token_id=given.pad_token_id,
        decoder_start_token_id=given.decoder_start_token_id,
        use_cache=True,
    )


@contextmanager
def _nothing_else(model: Any) -> Iterator[None]:
    """transformers takes what is not set from the model's own settings: a shortest length, penalties, forced tokens."""
    given = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = given


def _room(prompts: Sequence[int], model: Any, longest: int) -> int:
    """How many tokens may be written after the longest of these prompts: a model has no more positions than it has."""
    # The decoder of an encoder begins with a token of its own. A row has its answer after the prompt, and so room.
    before = 1 if model.config.is_encoder_decoder else max(prompts)
    return longest_sequence(model.config, before + longest) - before


def _in_step(engine: Any, workers: int) -> bool:
    return workers > 1 and engine.zero_optimization_stage() == 3


def _padded(prompts: Sequence[Sequence[int]], config: Any, pad_token: int, device: Any) -> dict[str, torch.Tensor]:
    """On the left for a decoder, which goes on at the right end; on the right for an encoder."""
    longest = max(map(len, prompts))
    tokens = torch.full((len(prompts), longest), pad_token, dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for line, prompt in enumerate(prompts):
        place = slice(0, len(prompt)) if config.is_encoder_decoder else slice(longest - len(prompt), longest)
        tokens[line, place] = torch.tensor(prompt, dtype=torch.int64)
        mask[line, place] = 1
    return {"input_ids": tokens.to(device), "attention_mask": mask.to(device)}


def _told(row: int, answer: Answer, tokens: Sequence[int], tokenizer: Any) -> WrittenAnswer:
    texts = (tokenizer.decode(part, skip_special_tokens=True) for part in (answer.prompt, answer.tokens, tokens))
    return WrittenAnswer(row, *(text.strip() for text in texts))
