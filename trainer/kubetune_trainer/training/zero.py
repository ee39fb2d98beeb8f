"""The DeepSpeed configuration of a job: one pure function."""

from typing import Any

from kubetune_trainer.training.batches import BatchPlan


def stage_for(stage: int | None, workers: int) -> int:
    """The ZeRO stage of a run whose manifest may leave it open: 0 has nothing to spread on one worker."""
    if stage is not None:
        return stage
    return 0 if workers == 1 else 2


def deepspeed_config(
    plan: BatchPlan, *, stage: int, bf16: bool, max_gradient_norm: float, on_gpu: bool
) -> dict[str, Any]:
    """The configuration for `deepspeed.initialize`.

    Optimizer and schedule are not in it: they are torch objects, the same ones for every stage.
    """
    if bf16:
        # DeepSpeed refuses stage 0 in bfloat16 with sums of gradients in 32 bits; stage 1 computes the same.
        stage = max(stage, 1)
    return {
        "train_micro_batch_size_per_gpu": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.accumulation_steps,
        "train_batch_size": plan.micro_batch_size * plan.accumulation_steps * plan.workers,
        # At stage 0 the optimizer clips: see `clip_in_each_step`.
        "gradient_clipping": max_gradient_norm if stage else 0.0,
        "bf16": {"enabled": bf16},
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": {
            "stage": stage,
            # Overlap needs CUDA streams; on a CPU it only costs.
            "overlap_comm": on_gpu and stage >= 1,
            "contiguous_gradients": True,
            "reduce_scatter": True,
            "stage3_gather_16bit_weights_on_model_save": False,
        },
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
