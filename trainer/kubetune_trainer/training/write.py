"""What a model writes to some rows of a split, and how that compares with their answers: a sum over all ranks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from transformers import GenerationConfig

from kubetune_api.job import Generation
from kubetune_api.tasks import TASKS
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.model.languages import beginning
from kubetune_trainer.model.load import longest_sequence
from kubetune_trainer.model.stops import stops_of
from kubetune_trainer.records import Answer
from kubetune_trainer.shown_rows import WrittenAnswer
from kubetune_trainer.tasks.base import TrainingTask
from kubetune_trainer.tasks.text_metrics import metrics_of, nothing, sums_of
from kubetune_trainer.training.batches import split_for_evaluation
from kubetune_trainer.training.exchange import of_all_ranks, sum_over_ranks

_SHOWN, _CHARACTERS = 8, 2000
"""Answers that the report shows, and the longest text of one."""


@dataclass(frozen=True)
class Written:
    """What the answers came to."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    shown: tuple[WrittenAnswer, ...] = ()


@torch.no_grad()
def write(
    engine: Any, task: TrainingTask, split: EncodedSplit, wanted: Generation, tokenizer: Any, micro_batch_size: int
) -> Written:
    """Asks the model for the answers of the first rows of a split; every rank takes a share and gets the whole result.

    Every rank writes as many batches, and under ZeRO-3 as many tokens of each: the others need its part of the weights.
    So the longest prompt of all ranks says how many positions are left.
    """
    assert task.generation is not None
    asked = [task.generation.asked(split, row) for row in range(min(wanted.max_rows, split.rows))]
    longest = min(wanted.max_new_tokens, 2 * max(len(answer.tokens) for answer in asked))
    model, rank, workers = engine.module, dist.get_rank(), dist.get_world_size()
    settings = _greedy(model.generation_config)
    settings.update(**beginning(tokenizer))
    lengths = np.array([len(answer.prompt) for answer in asked], dtype=np.int64)
    sums, shown = nothing(), []
    engine.eval()
    for shares in split_for_evaluation(lengths, micro_batch_size, workers):
        rows = shares[rank].tolist()
        inputs = _padded(
            [asked[row].prompt for row in rows or [0]], model.config, tokenizer.pad_token_id, engine.device
        )
        settings.max_new_tokens = _room([len(asked[row].prompt) for share in shares for row in share], model, longest)
        with _nothing_else(model):
            out = model.generate(**inputs, generation_config=settings, synced_gpus=_in_step(engine, workers))
        before = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        for row, tokens in zip(rows, out[:, before:].tolist(), strict=False):
            answer = _told(row, asked[row], tokens, tokenizer)
            sums += sums_of(answer.expected, answer.written)
            shown += [answer] if row < _SHOWN else []
    engine.train()
    total = sum_over_ranks({"": torch.from_numpy(sums).to(engine.device)})[""]
    return Written(metrics_of(total, TASKS[task.name].generated_metrics), _gathered(shown))


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


def _gathered(shown: Sequence[WrittenAnswer]) -> tuple[WrittenAnswer, ...]:
    short = [
        WrittenAnswer(one.row, *(text[:_CHARACTERS] for text in (one.question, one.expected, one.written)))
        for one in shown
    ]
    return tuple(sorted(of_all_ranks(short), key=lambda one: one.row))
