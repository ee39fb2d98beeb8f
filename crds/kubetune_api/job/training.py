"""`spec.training`: how the weights are trained."""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kubetune_api.base import ApiModel, Rule
from kubetune_api.methods import METHODS
from kubetune_api.optimizers import OPTIMIZERS, OptimizerRow
from kubetune_api.schedules import SCHEDULES, ScheduleRow
from kubetune_api.schema import default_text
from kubetune_api.tables import OneOf, filled, listed
from kubetune_api.tasks import TASKS
from kubetune_api.unions import members_of_type, with_defaults

DEFAULT_MICRO_BATCH_SIZE = 8
"""The examples that one worker takes at a time when neither the manifest nor the planner says."""


def _rates() -> str:
    rates = [(name, method.learning_rate) for name, method in METHODS.items()]
    rates += [
        (f"{name} with {method}", row.rate(task.learning_rate))
        for name, task in TASKS.items()
        if task.learning_rate is not None
        for method, row in METHODS.items()
    ]
    return ", ".join(f"{default_text(rate)} ({name})" for name, rate in rates)


def _rates_of_optimizers() -> str:
    return ", ".join(f"{default_text(row.rate)} ({name})" for name, row in OPTIMIZERS.items() if row.rate != 1)


def _whole_matrices() -> list[str]:
    return [name for name, row in OPTIMIZERS.items() if row.whole_matrices]


def _what_they_do() -> str:
    return " ".join(f"`{name}` {optimizer.does}." for name, optimizer in OPTIMIZERS.items())


def _schedules() -> str:
    return ", ".join(f"`{name}` {row.does}" for name, row in SCHEDULES.items())


def _default_of(setting: str, table: Mapping[str, OptimizerRow | ScheduleRow] = OPTIMIZERS) -> Callable[[], str]:
    def text() -> str:
        values = {name: row.defaults[setting] for name, row in table.items() if setting in row.defaults}
        return ", ".join(f"{default_text(value)} ({name})" for name, value in values.items())

    return text


class Optimizer(ApiModel):
    """How gradients become steps."""

    type: Annotated[str, OneOf(OPTIMIZERS), Field(json_schema_extra=filled(optimizers=_what_they_do))] = "AdamW"
    """{optimizers}"""
    beta1: Annotated[float | None, Field(ge=0.0, lt=1.0, json_schema_extra=filled(default=_default_of("beta1")))] = None
    """The decay of the mean of the gradients that a step takes, per optimizer step. Unset: {default}."""
    beta2: Annotated[float | None, Field(ge=0.0, lt=1.0, json_schema_extra=filled(default=_default_of("beta2")))] = None
    """The decay of the mean of the squared gradients, or of the mean that `Lion` keeps, per optimizer step. Unset:
    {default}."""
    momentum: Annotated[
        float | None, Field(ge=0.0, lt=1.0, json_schema_extra=filled(default=_default_of("momentum")))
    ] = None
    """The decay of the running sum of the gradients, per optimizer step. Unset: {default}."""
    epsilon: Annotated[
        float | None, Field(gt=0.0, le=1.0, json_schema_extra=filled(default=_default_of("epsilon")))
    ] = None
    """The guard against a division by zero, in units of the gradient. Unset: {default}."""
    weight_decay: Annotated[
        float | None, Field(ge=0.0, le=1.0, json_schema_extra=filled(default=_default_of("weight_decay")))
    ] = None
    """The L2 decay: in each step a weight loses this share of itself times the learning rate; `Adam` and `SGD` add it
    to the gradient instead. Biases and norms are exempt. Unset: {default}."""

    rules: ClassVar = (members_of_type(lambda: {name: row.defaults for name, row in OPTIMIZERS.items()}),)

    @property
    def row(self) -> OptimizerRow:
        """What is known of its type."""
        return OPTIMIZERS[self.type]

    @property
    def settings(self) -> dict[str, float]:
        """Every setting of its type, by attribute, with the default where the manifest does not say."""
        return with_defaults(self, self.row.defaults)


class Schedule(ApiModel):
    """How the learning rate moves over the run."""

    type: Annotated[str, OneOf(SCHEDULES), Field(json_schema_extra=filled(schedules=_schedules))] = "Linear"
    """After the warm-up, the rate: {schedules}."""
    warmup_steps: Annotated[int, Field(ge=0, le=10000000)] | None = None
    """How long the rate rises from 0, in optimizer steps. Unset: `warmupRatio` applies."""
    warmup_ratio: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """The same as a share of all steps, 0 to 1. Unset: 0."""
    minimum_ratio: Annotated[
        float | None,
        Field(ge=0.0, le=1.0, json_schema_extra=filled(default=_default_of("minimum_ratio", SCHEDULES))),
    ] = None
    """Where the rate ends, as a share of the highest. Unset: {default}."""
    decay_ratio: Annotated[
        float | None, Field(gt=0.0, le=1.0, json_schema_extra=filled(default=_default_of("decay_ratio", SCHEDULES)))
    ] = None
    """How long the rate falls at the end, as a share of all steps. Unset: {default}."""

    rules: ClassVar = (
        members_of_type(lambda: {name: row.defaults for name, row in SCHEDULES.items()}),
        Rule(
            cel="!(has(self.warmupSteps) && has(self.warmupRatio))",
            message="the warm-up is given either in steps or as a ratio; remove one of the two",
            holds=lambda schedule: schedule.warmup_steps is None or schedule.warmup_ratio is None,
            field="warmupRatio",
        ),
    )

    @property
    def settings(self) -> dict[str, float]:
        """Every setting of its type, by attribute, with the default where the manifest does not say."""
        return with_defaults(self, SCHEDULES[self.type].defaults)


def _precision_rules() -> Iterator[Rule]:
    names = _whole_matrices()
    yield Rule(
        # The API server judges the default {} of the group before it fills it in.
        cel=f"!has(self.optimizer) || !(self.optimizer.type in {names}) || self.precision in ['Auto', 'FP32']",
        message=f"{listed(names)} work on whole matrices, which DeepSpeed keeps in one piece in FP32 only; set"
        " precision to FP32 or Auto, or choose another optimizer",
        holds=lambda training: not training.optimizer.row.whole_matrices or training.precision in ("Auto", "FP32"),
        field="precision",
    )


class EarlyStopping(ApiModel):
    """When a run ends before its last step, because it no longer gets better on the validation split."""

    patience: Annotated[int, Field(ge=1, le=1000)]
    """The run ends after this many evaluations in a row without an improvement of `evaluation.primaryMetric`."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """What counts as an improvement: more than this much better than the best so far, in the metric's value."""


class Checkpoints(ApiModel):
    """How often a training is saved, so that a run that was ended goes on from there. Without `everySteps` and
    `everySeconds`, as often as one is worth what it costs: every minute to every hour, by the time that the training
    was seen to lose with one, and by how often the job is interrupted."""

    every_steps: Annotated[int, Field(ge=1, le=100000000)] | None = None
    """After how many optimizer steps the next one is due. Unset: the time alone says."""
    every_seconds: Annotated[int, Field(ge=1, le=604800)] | None = None
    """After how many seconds the next one is due. With both, whichever comes first. Unset: `everySteps` alone says, or
    without that the cost of a checkpoint."""
    retain: Annotated[int, Field(ge=1, le=100)] = 2
    """Of how many steps the checkpoints are kept, the newest ones. An older one is used where a newer one is damaged.
    All are removed once the model is published."""


class Watchdog(ApiModel):
    """What is looked for while a training goes on: whether anything moves, and whether the loss jumps."""

    hang_seconds: Annotated[int, Field(ge=10, le=86400)] | None = None
    """After how many seconds in which no worker has come further in its steps or evaluations the run ends with the
    reason `Hung`. Unset: 20 times the median step, but at least 60 seconds, and no more than 120 unless steps take a
    quarter of that."""
    on_spike: Literal["Note", "RollBack", "Fail"] = "Note"
    """What follows where the loss of a step is far above those before: `Note` tells it and goes on, `RollBack` ends the
    attempt with the reason `RolledBack`, and the next one goes on from the last checkpoint before that step with the
    rest of the epoch in another order, `Fail` ends the run with the reason `LossSpike`."""
    spike_factor: Annotated[float, Field(ge=2.0, le=1000000.0)] = 10.0
    """How far that is: this many times the spread of the last 100 losses above their median. The spread is 1.4826
    times the median distance from it, but at least a twentieth of the median loss of the first 20 steps."""


class Training(ApiModel):
    """How the weights are trained, on the mean loss of each global batch."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """How often the training split is gone through, in whole passes."""
    max_steps: Annotated[int, Field(ge=1, le=100000000)] | None = None
    """Ends the run after this many optimizer steps, if the epochs have not ended it before. Unset: they end it."""
    global_batch_size: Annotated[int, Field(ge=1, le=1048576)] = 32
    """What one optimizer step takes in, over all workers, in examples. Gradient accumulation is worked out from
    it: but for the random numbers of dropout, the result does not depend on how many workers share a batch."""
    micro_batch_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    """What one worker takes through the model at a time, in examples. Smaller needs less memory, larger is faster;
    but for the random numbers of dropout, the result is the same, unless the task compares the rows of a micro-batch.
    Unset: the largest that fits the accelerator's memory; on CPUs 8, or more where rows are short."""
    learning_rate: Annotated[
        float | None,
        Field(gt=0.0, le=1.0, json_schema_extra=filled(rates=_rates, factors=_rates_of_optimizers)),
    ] = None
    """The highest learning rate of the schedule, per optimizer step. Unset: by the method and the task, {rates}, times
    a factor for the optimizers that need other rates: {factors}."""
    schedule: Schedule = Schedule()
    """How the learning rate moves."""
    optimizer: Optimizer = Optimizer()
    """How gradients become steps."""
    l1: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """The L1 penalty: in each step a weight moves by this share of the learning rate towards 0, and stays at 0 once
    it is there. Biases and norms are exempt. 0 turns it off."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """The share of the activations that is left out in training, at every dropout that the model has. Unset: as the
    model's configuration says."""
    layerwise_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """The learning rate of each layer as a share of that of the layer above it; the head has the whole rate, the
    embeddings the least. 1 gives all the same."""
    neftune_alpha: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """The strength of the noise on the embeddings in training: each value moves by at most this over the root of the
    numbers in its row (NEFTune, arXiv:2310.05914). 0 turns it off."""
    early_stopping: EarlyStopping | None = None
    """Ends the run when it no longer gets better on the validation split. Unset: it goes on to its last step."""
    keep: Literal["Best", "Last"] | None = None
    """Which weights are published: `Best`, those of the evaluation with the best `evaluation.primaryMetric`, or `Last`,
    those of the last step. `Best` needs main memory for a copy of the trained weights. Unset: `Best` with
    `earlyStopping`, `Last` without."""
    checkpoints: Checkpoints | None = None
    """Saves the training while it goes on, so that another execution of the run goes on from there. Unset: `{}` in a
    cluster; a local run saves nothing."""
    watchdog: Watchdog = Watchdog()
    """What is looked for while the training goes on."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """The share of each target that is spread over all labels, or over all tokens of the vocabulary, 0 to 1: the model
    does not learn to be sure. The loss of an evaluation is without it."""
    max_gradient_norm: Annotated[float, Field(ge=0.0, le=1000000.0)] = 1.0
    """Scales the gradients of a step down to this Euclidean norm, in units of the gradient. 0 turns it off."""
    precision: Literal["Auto", "FP32", "BF16", "FP16"] = "Auto"
    """The numbers that the model computes with; the optimizer keeps 32-bit weights either way. `Auto` is `BF16` on a
    GPU that has it and `FP32` elsewhere, and with an optimizer that needs whole matrices. `FP16` scales the loss so
    that small gradients are not lost, and runs on GPUs only."""
    activation_checkpointing: Literal["Auto", "Full", "None"] = "Auto"
    """What the backward pass finds of the forward pass. `Full`: each layer keeps its inputs alone and is computed a
    second time, with the same random numbers, which needs much less memory and about a third more time and changes no
    result. `None`: all that it needs. `Auto`: on GPUs `Full` where nothing else fits or steps are shorter by it; on
    CPUs `None`."""
    seed: Annotated[int, Field(ge=0, le=4294967295)] = 0
    """The seed of the new head's weights, of dropout and of the order of the examples."""

    rules: ClassVar = (
        _precision_rules,
        Rule(
            # The API server judges the default {} of the group before it fills it in.
            cel="!has(self.watchdog) || !has(self.watchdog.onSpike) || self.watchdog.onSpike != 'RollBack'"
            " || has(self.checkpoints)",
            message="RollBack goes on from a checkpoint; set training.checkpoints ({} saves as often as it is worth its"
            " cost), or choose Fail or Note",
            holds=lambda training: training.watchdog.on_spike != "RollBack" or training.checkpoints is not None,
            field="watchdog",
        ),
    )

    @property
    def kept(self) -> Literal["Best", "Last"]:
        """Which weights are published."""
        return self.keep or ("Best" if self.early_stopping else "Last")

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, of a job whose defaults are filled in."""
        assert self.learning_rate is not None, "the defaults are not filled in yet"
        return self.learning_rate

    @property
    def micro_batch(self) -> int:
        """The micro-batch that is wanted, in examples; never more than a global batch."""
        return min(self.micro_batch_size or DEFAULT_MICRO_BATCH_SIZE, self.global_batch_size)
