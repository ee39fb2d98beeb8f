"""The DeepSpeed configuration of a job: one pure function."""

from typing import Any

from kubetune_api.job import NOTHING, Offload
from kubetune_planner.buffers import bucket_size
from kubetune_planner.states import Precision, stage_that_runs
from kubetune_trainer.training.batches import BatchPlan

_PLACES = {"None": "none", "CPU": "cpu"}
"""What DeepSpeed calls them."""


def deepspeed_config(
    plan: BatchPlan,
    *,
    stage: int,
    precision: Precision,
    max_gradient_norm: float,
    on_gpu: bool,
    trained: int,
    offload: Offload = NOTHING,
) -> dict[str, Any]:
    """The configuration for `deepspeed.initialize`; `trained` is the number of parameters that have gradients.

    Optimizer and schedule are not in it: they are torch objects, the same ones for every stage.
    """
    assert stage == stage_that_runs(precision, stage), "a stage that DeepSpeed does not have"
    return {
        "train_micro_batch_size_per_gpu": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.accumulation_steps,
        "train_batch_size": plan.micro_batch_size * plan.accumulation_steps * plan.workers,
        # At stage 0 the optimizer clips: see `clip_in_each_step`.
        "gradient_clipping": max_gradient_norm if stage else 0.0,
        "bf16": {"enabled": precision == "BF16"},
        # The scale is found anew by halving; the loop repeats a step that was too large for it.
        "fp16": {"enabled": precision == "FP16", "loss_scale": 0, "initial_scale_power": 16, "hysteresis": 1},
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": _sharding(stage, offload, on_gpu=on_gpu, trained=trained),
        # Its own optimizer for CPUs is compiled at the first start: see `build_engine`. torch's is fused there, too.
        "zero_force_ds_cpu_optimizer": False,
        # DeepSpeed knows its own optimizers and Adam; a test holds each of ours to the same result at every stage.
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
        # It would wait for the GPU twice in each pass, for a number that nobody reads.
        "timers": {"throughput": {"enabled": False}},
        "wall_clock_breakdown": False,
    }


def _sharding(stage: int, offload: Offload, *, on_gpu: bool, trained: int) -> dict[str, Any]:
    return {
        "stage": stage,
        # Overlap needs CUDA streams; on a CPU it only costs.
        "overlap_comm": on_gpu and stage >= 1,
        "contiguous_gradients": True,
        "reduce_scatter": True,
        "reduce_bucket_size": bucket_size(trained),
        "stage3_gather_16bit_weights_on_model_save": False,
        # Without a GPU nothing is copied to one.
        "offload_optimizer": {"device": _PLACES[offload.optimizer], "pin_memory": on_gpu},
        "offload_param": {"device": _PLACES[offload.weights], "pin_memory": on_gpu},
    }
