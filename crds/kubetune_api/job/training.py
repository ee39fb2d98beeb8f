"""`spec.training`: how the weights are trained."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kubetune_api.base import ApiModel, Rule

DEFAULT_MICRO_BATCH_SIZE = 8
"""The examples that one worker takes at a time when neither the manifest nor the planner says."""


class Schedule(ApiModel):
    """How the learning rate moves over the run."""

    type: Literal["Linear", "Cosine", "Constant"] = "Linear"
    """After the warm-up: `Linear` falls to 0 in a straight line, `Cosine` along half a cosine, `Constant` stays."""
    warmup_steps: Annotated[int, Field(ge=0, le=10000000)] | None = None
    """How long the rate rises from 0, in optimizer steps. Unset: see `warmupRatio`."""
    warmup_ratio: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """The same as a share of all steps, 0 to 1. Unset: 0."""

    rules: ClassVar = (
        Rule(
            cel="!(has(self.warmupSteps) && has(self.warmupRatio))",
            message="the warm-up is given either in steps or as a ratio; remove one of the two",
            holds=lambda schedule: schedule.warmup_steps is None or schedule.warmup_ratio is None,
            field="warmupRatio",
        ),
    )


class Training(ApiModel):
    """How the weights are trained: AdamW on the mean loss of each global batch."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """How often the training split is gone through, in whole passes."""
    max_steps: Annotated[int, Field(ge=1, le=100000000)] | None = None
    """Ends the run after this many optimizer steps, if the epochs have not ended it before. Unset: they end it."""
    global_batch_size: Annotated[int, Field(ge=1, le=1048576)] = 32
    """What one optimizer step takes in, over all workers, in examples. Gradient accumulation is worked out from
    it: but for the random numbers of dropout, the result does not depend on how many workers share a batch."""
    micro_batch_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    """What one worker takes through the model at a time, in examples. Smaller needs less memory, larger is faster;
    but for the random numbers of dropout, the result is the same. Unset: the largest that fits the
    accelerator's memory; 8 on CPUs."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 2e-5
    """The highest learning rate of the schedule, per optimizer step."""
    schedule: Schedule = Schedule()
    """How the learning rate moves."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """AdamW's decoupled L2 decay, per step and learning rate. Biases and norms are exempt."""
    adam_beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """AdamW's decay of the mean of the gradients, per optimizer step."""
    adam_beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """AdamW's decay of the mean of the squared gradients, per optimizer step."""
    adam_epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-8
    """AdamW's guard against a division by zero, in units of the gradient."""
    max_gradient_norm: Annotated[float, Field(ge=0.0, le=1000000.0)] = 1.0
    """Scales the gradients of a step down to this Euclidean norm, in units of the gradient. 0 turns it off."""
    precision: Literal["Auto", "FP32", "BF16"] = "Auto"
    """The numbers that the model computes with; the optimizer keeps 32-bit weights either way. `Auto` is `BF16` on a
    GPU that has it and `FP32` elsewhere."""
    seed: Annotated[int, Field(ge=0, le=4294967295)] = 0
    """The seed of the new head's weights, of dropout and of the order of the examples."""

    @property
    def micro_batch(self) -> int:
        """The micro-batch that is wanted, in examples; never more than a global batch."""
        return min(self.micro_batch_size or DEFAULT_MICRO_BATCH_SIZE, self.global_batch_size)
