"""What DeepSpeed is told for a job."""

from typing import get_args

import pytest

from kubetune_api.job import Offload
from kubetune_planner.states import Precision
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.zero import deepspeed_config


def plan(workers: int, micro: int = 4, global_batch_size: int = 32) -> BatchPlan:
    return BatchPlan(100, global_batch_size, micro, workers, epochs=1)


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 40])
def test_deepspeeds_own_product_of_batch_sizes_holds(workers: int) -> None:
    config = deepspeed_config(plan(workers), stage=1, precision="FP32", max_gradient_norm=1.0, on_gpu=False, trained=9)
    per_worker = config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"]
    assert config["train_batch_size"] == per_worker * workers
    assert config["gradient_accumulation_steps"] == plan(workers).accumulation_steps


@pytest.mark.parametrize(
    ("stage", "precision"),
    [(stage, precision) for precision in get_args(Precision) for stage in range(0 if precision == "FP32" else 1, 4)],
)
def test_stage_precision_and_clipping_are_passed_on(stage: int, precision: Precision) -> None:
    config = deepspeed_config(
        plan(2), stage=stage, precision=precision, max_gradient_norm=0.25, on_gpu=False, trained=9
    )
    assert config["zero_optimization"]["stage"] == stage
    # It would refuse Lion and SGD.
    assert config["zero_allow_untested_optimizer"] is True
    assert config["bf16"] == {"enabled": precision == "BF16"}
    assert config["fp16"]["enabled"] is (precision == "FP16")
    # 0 is a scale that DeepSpeed finds.
    assert config["fp16"]["loss_scale"] == 0
    # At stage 0 DeepSpeed would forget the norm; there the optimizer clips.
    assert config["gradient_clipping"] == (0.25 if stage else 0.0)
    # Sums of many micro-batches in bfloat16 would lose the small ones.
    assert config["data_types"] == {"grad_accum_dtype": "fp32"}
    # Each of its timers waits for the GPU.
    assert config["timers"] == {"throughput": {"enabled": False}}
    assert config["wall_clock_breakdown"] is False


@pytest.mark.parametrize(
    ("stage", "on_gpu", "overlaps"),
    [
        pytest.param(2, True, True, id="on a GPU"),
        pytest.param(2, False, False, id="not on a CPU"),
        pytest.param(0, True, False, id="not where nothing is spread"),
    ],
)
def test_communication_overlaps(stage: int, on_gpu: bool, overlaps: bool) -> None:
    config = deepspeed_config(plan(2), stage=stage, precision="FP32", max_gradient_norm=1.0, on_gpu=on_gpu, trained=9)
    assert config["zero_optimization"]["overlap_comm"] is overlaps


@pytest.mark.parametrize(
    ("trained", "bucket"),
    [
        pytest.param(22_700_000, 22_700_000, id="a small model fills no more than its gradients"),
        pytest.param(8_000_000_000, 500_000_000, id="a large one goes through it by parts"),
    ],
)
def test_a_bucket_is_as_large_as_what_it_may_hold(trained: int, bucket: int) -> None:
    """N6"""
    config = deepspeed_config(plan(2), stage=2, precision="BF16", max_gradient_norm=1.0, on_gpu=True, trained=trained)
    assert config["zero_optimization"]["reduce_bucket_size"] == bucket


@pytest.mark.parametrize("on_gpu", [True, False], ids=["on a GPU", "on a CPU"])
def test_what_is_offloaded_is_pinned_for_gpus_and_needs_no_compiled_optimizer(on_gpu: bool) -> None:
    config = deepspeed_config(
        plan(2), stage=3, precision="BF16", max_gradient_norm=1.0, on_gpu=on_gpu, trained=9,
        offload=Offload(optimizer="CPU"),
    )  # fmt: skip
    assert config["zero_optimization"]["offload_optimizer"] == {"device": "cpu", "pin_memory": on_gpu}
    assert config["zero_optimization"]["offload_param"] == {"device": "none", "pin_memory": on_gpu}
    assert config["zero_force_ds_cpu_optimizer"] is False
