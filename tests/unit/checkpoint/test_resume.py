"""A rank that goes on has one whole shard at a time, and of the others what it holds itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from kubetune_trainer.checkpoint.history import History, to_json
from kubetune_trainer.checkpoint.manifest import Checkpoint, named
from kubetune_trainer.checkpoint.resume import resume
from kubetune_trainer.checkpoint.shards import write_shard
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.training.engine_state import Range, counters_of, state_of
from kubetune_trainer.training.going import Going
from kubetune_trainer.training.kept_weights import KeptWeights
from kubetune_trainer.training.watch import Watch
from support.one_rank import group_of_one, trained_engine
from support.stores import Watched
from support.tiny_models import spec_for

WORKERS = 8
FOLDER = "executions/1/checkpoints/step-00000003"


@pytest.fixture(autouse=True)
def group() -> Iterator[None]:
    with group_of_one():
        yield


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    return Watched.open((tmp_path / "store").as_uri())


def going(seed: int) -> Going:
    """A training of a few numbers, as an engine at stage 0 has them."""
    torch.manual_seed(seed)
    module = nn.Linear(31, 8)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    engine = trained_engine(module, optimizer)
    weights = KeptWeights(engine)
    return Going(engine, Watch(spec_for("CausalLM"), weights, lambda value: value), weights)


def saved(one: Going, store: Watched, scratch: Path) -> Checkpoint:
    """As eight ranks would have saved it; each had much besides that no rank holds any more."""
    state, shards = state_of(one.engine), []
    for rank in range(WORKERS):
        ranges = {f"weight/other.{rank}": Range(0, torch.zeros(20_000), 20_000)}
        for name, whole in state.items():
            first, last = (whole.size * place // WORKERS for place in (rank, rank + 1))
            ranges[name] = Range(first, whole.values[first:last], whole.size)
        path = scratch / f"rank-{rank:05}.safetensors"
        write_shard(path, ranges)
        shards.append(named(store.upload(path, f"{FOLDER}/{path.name}")))
    history = scratch / "history.json"
    loop = {**counters_of(one.engine), "watch": one.watch.state(), "shapes": {}}
    history.write_bytes(to_json(History((), (), loop)))
    told = named(store.upload(history, f"{FOLDER}/history.json"))
    return Checkpoint.model_validate(
        {"run": "run-1", "execution": 1, "step": 3, "epoch": 0, "rowsSeen": 30, "workers": WORKERS,
         "shards": shards, "history": told, "identity": {}}
    )  # fmt: skip


def test_one_whole_shard_at_a_time_is_on_the_disk(store: Watched, tmp_path: Path) -> None:
    first, other = going(0), going(1)
    checkpoint = saved(first, store, tmp_path)
    found = resume(other, store, [checkpoint], CausalLanguageModel(), Vocabulary(), 0)
    assert (found.step, found.skipped) == (3, ())
    for name, one in state_of(first.engine).items():
        assert torch.equal(state_of(other.engine)[name].values, one.values)
    assert len(store.fetched) == WORKERS + 1
    kept = sum(one.values.nbytes for one in state_of(first.engine).values())
    assert store.most < max(file.size for file in checkpoint.files) + checkpoint.files[-1].size + kept + WORKERS * 300


def test_nothing_is_changed_before_every_shard_was_compared(store: Watched, tmp_path: Path) -> None:
    first, other = going(0), going(1)
    checkpoint = saved(first, store, tmp_path)
    store.delete(checkpoint.files[WORKERS - 1].name)
    before = {name: one.values.clone() for name, one in state_of(other.engine).items()}
    found = resume(other, store, [checkpoint], CausalLanguageModel(), Vocabulary(), 0)
    assert found.step == 0
    assert found.skipped == (f"the checkpoint of step 3 cannot be used: {FOLDER}/rank-00007.safetensors is missing",)
    assert all(torch.equal(before[name], one.values) for name, one in state_of(other.engine).items())
