"""A model with random weights, as large as wanted, in files; and what it takes of a rank's own memory until its weights
are in the shards of ZeRO-3: pages of files, which the workers of a node share, are not its own."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig

from kubetune_api.job import FineTuneJobSpec, Freeze
from kubetune_trainer.methods.full import Full
from kubetune_trainer.model.load import load_model
from kubetune_trainer.model.stored import tensor_digest
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.placing import place
from kubetune_trainer.training.zero import deepspeed_config
from support.tiny_models import PAD, saved, spec_for, tiny_model, tiny_tokenizer

ROWS = 4


@dataclass(frozen=True)
class Loaded:
    """What a rank came to."""

    grown: int
    """By how many bytes its own memory had grown at most, until the weights were in shards."""
    digests: dict[str, str]
    """Of the tensors of all shards together; rank 0 only."""


def write_model(folder: Path, layers: int, width: int) -> dict[str, str]:
    """The model in bfloat16: about width² times 12.25 parameters in each layer, and 8 times beside; the digests of its
    tensors."""
    torch.manual_seed(0)
    config = LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=11 * width // 4,
        num_attention_heads=width // 64,
        vocab_size=8 * width,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        use_cache=False,
    )
    saved(AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16), folder)
    return {name: tensor_digest(values) for name, values in load_file(folder / "model.safetensors").items()}


def load_into_shards(folder: Path, dtype: torch.dtype | None) -> Loaded:
    """Loads the model as a worker does, with its weights read as `dtype`, up to where DeepSpeed begins."""
    _imported(folder)
    plan, resolved = _plan(), _resolved()
    config = deepspeed_config(plan, stage=3, precision="BF16", max_gradient_norm=1.0, on_gpu=False, trained=1)
    with peak_of_own_memory() as peak:
        model = _attached(folder, dtype)
        place(model, resolved, config)
    return Loaded(peak[0], _digests(model))


def load_both_ways(folder: Path) -> tuple[Loaded, Loaded]:
    """As the files have the weights, and read in 32 bits."""
    return load_into_shards(folder, None), load_into_shards(folder, torch.float32)


@contextmanager
def peak_of_own_memory() -> Iterator[list[int]]:
    """The only element: by how many bytes this process's own memory grew at most within the block."""
    before, peak, over = _own_memory(), [0], threading.Event()

    def look() -> None:
        while not over.wait(0.002):
            peak[0] = max(peak[0], _own_memory() - before)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        peak[0] = max(peak[0], _own_memory() - before)


def _own_memory() -> int:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def _imported(folder: Path) -> None:
    """What is imported at the first use takes memory too."""
    import deepspeed

    # As `build_engine` does, so that nothing is compiled.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo")
    tiny_model("llama", labels=None)
    _attached(folder, None)


def _attached(folder: Path, dtype: torch.dtype | None) -> Any:
    method, spec = Full(Freeze()), _spec(folder)
    loaded = load_model(folder, spec, CausalLanguageModel(), Vocabulary(), tiny_tokenizer(), dtype=dtype)
    return method.attach(loaded, precision="BF16", reach=lambda: 1.0).loaded.model


def _digests(model: Any) -> dict[str, str]:
    import deepspeed

    found = {}
    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            found[name] = tensor_digest(parameter.detach())
    return found if dist.get_rank() == 0 else {}


def _spec(folder: Path) -> FineTuneJobSpec:
    return spec_for("CausalLM", folder, training={"globalBatchSize": 2 * ROWS, "precision": "BF16", "epochs": 1})


def _plan() -> BatchPlan:
    workers = dist.get_world_size()
    rows = ROWS * workers
    return BatchPlan(
        rows=rows, global_batch_size=rows, micro_batch_size=ROWS, workers=workers, epochs=1, max_steps=None
    )


def _resolved() -> ResolvedTraining:
    return ResolvedTraining(3, "BF16", ROWS, dist.get_world_size(), 1e-5, max_length=64)
