"""What DeepSpeed is told for a job."""

import pytest

from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.zero import deepspeed_config, stage_for


def plan(workers: int, micro: int = 4, global_batch_size: int = 32) -> BatchPlan:
    return BatchPlan(100, global_batch_size, micro, workers, epochs=1)


@pytest.mark.parametrize(
    ("asked", "workers", "stage"),
    [
        pytest.param(None, 1, 0, id="left open, one worker has nothing to spread"),
        pytest.param(None, 2, 2, id="left open, more workers spread optimizer and gradients"),
        pytest.param(0, 4, 0, id="0 is a wish, not a gap"),
        pytest.param(3, 1, 3, id="3 on one worker"),
    ],
)
def test_stage(asked: int | None, workers: int, stage: int) -> None:
    assert stage_for(asked, workers) == stage


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 40])
def test_deepspeeds_own_product_of_batch_sizes_holds(workers: int) -> None:
    config = deepspeed_config(plan(workers), stage=1, bf16=False, max_gradient_norm=1.0, on_gpu=False)
    per_worker = config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"]
    assert config["train_batch_size"] == per_worker * workers
    assert config["gradient_accumulation_steps"] == plan(workers).accumulation_steps


@pytest.mark.parametrize(
    ("stage", "bf16", "told"),
    [
        *(pytest.param(stage, False, stage, id=f"{stage} in 32 bits") for stage in range(4)),
        pytest.param(0, True, 1, id="0 in bfloat16, which DeepSpeed does not have"),
        *(pytest.param(stage, True, stage, id=f"{stage} in bfloat16") for stage in range(1, 4)),
    ],
)
def test_stage_precision_and_clipping_are_passed_on(stage: int, bf16: bool, told: int) -> None:
    config = deepspeed_config(plan(2), stage=stage, bf16=bf16, max_gradient_norm=0.25, on_gpu=False)
    assert config["zero_optimization"]["stage"] == told
    assert config["bf16"] == {"enabled": bf16}
    # At stage 0 DeepSpeed would forget the norm; there the optimizer clips.
    assert config["gradient_clipping"] == (0.25 if told else 0.0)
    # Sums of many micro-batches in bfloat16 would lose the small ones.
    assert config["data_types"] == {"grad_accum_dtype": "fp32"}


@pytest.mark.parametrize(
    ("stage", "on_gpu", "overlaps"),
    [
        pytest.param(2, True, True, id="on a GPU"),
        pytest.param(2, False, False, id="not on a CPU"),
        pytest.param(0, True, False, id="not where nothing is spread"),
    ],
)
def test_communication_overlaps(stage: int, on_gpu: bool, overlaps: bool) -> None:
    config = deepspeed_config(plan(2), stage=stage, bf16=False, max_gradient_norm=1.0, on_gpu=on_gpu)
    assert config["zero_optimization"]["overlap_comm"] is overlaps
