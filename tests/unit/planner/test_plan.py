"""Which stage and micro-batch a plan takes, and what it says where nothing fits."""

from dataclasses import asdict
from typing import Any

import pytest

from kubetune_api.job import FineTuneJobSpec, Zero
from kubetune_planner.activations import logits, turn_bytes
from kubetune_planner.catalogue import shape_of
from kubetune_planner.memory import CUDA_CONTEXT, MemoryEstimate, estimate
from kubetune_planner.plan import MARGIN, AcceleratorSpec, Refusal, TrainingPlan, plan
from kubetune_planner.shape import ModelShape

GIB = 1 << 30
SMALL = AcceleratorSpec("a small one", 16 * GIB, has_bf16=False)
MIDDLE = AcceleratorSpec("a middling one", 24 * GIB, has_bf16=True)
LARGE = AcceleratorSpec("a large one", 80 * GIB, has_bf16=True)


def shape(name: str) -> ModelShape:
    found = shape_of(f"hf://{name}")
    assert found is not None
    return found


BERT = shape("google-bert/bert-base-uncased")
GPT2_XL = shape("openai-community/gpt2-xl")
LLAMA_1B = shape("meta-llama/Llama-3.2-1B")
LLAMA_8B = shape("meta-llama/Llama-3.1-8B")
LLAMA_70B = shape("meta-llama/Llama-3.1-70B")


def job(task: dict[str, Any], columns: dict[str, str], parts: dict[str, Any]) -> FineTuneJobSpec:
    kept = {"activationCheckpointing": "None"}  # what is chosen of itself has tests of its own
    parts = parts | {"training": kept | parts.get("training", {})}
    fixed = {"model": {"uri": "file:///model"}, "output": {"uri": "file:///out"}, "task": task}
    return FineTuneJobSpec.model_validate({**fixed, "dataset": {"uri": "file:///a.csv", "columns": columns}, **parts})


def classification(labels: list[str] | None = None, **parts: Any) -> FineTuneJobSpec:
    return job({"type": "SequenceClassification", "labels": labels}, {"text": "a", "label": "b"}, parts)


def language(max_length: int = 512, **parts: Any) -> FineTuneJobSpec:
    return job({"type": "CausalLM", "maxLength": max_length}, {"prompt": "a", "completion": "b"}, parts)


def vectors(*parts: str, **more: Any) -> FineTuneJobSpec:
    return job({"type": "Embedding", "maxLength": 512}, {part: part for part in ("anchor", "positive", *parts)}, more)


def accepted(spec: FineTuneJobSpec, model: ModelShape, accelerator: AcceleratorSpec, workers: int = 1) -> TrainingPlan:
    found = plan(spec, model, accelerator, workers)
    assert isinstance(found, TrainingPlan), found
    return found


def refused(spec: FineTuneJobSpec, model: ModelShape, accelerator: AcceleratorSpec, workers: int = 1) -> Refusal:
    found = plan(spec, model, accelerator, workers)
    assert isinstance(found, Refusal), found
    return found


def test_the_masks_of_a_dropout_that_the_job_sets_are_planned() -> None:
    plain, dropping = need_of(classification(), BERT), need_of(classification(training={"dropout": 0.0}), BERT)
    assert BERT.dropout > 0
    assert dropping.activations < plain.activations


def test_an_optimizer_of_whole_matrices_is_planned_at_stage_0_or_another_one_is_proposed() -> None:
    muon = language(128, training={"optimizer": {"type": "Muon"}, "globalBatchSize": 8}).resolved
    planned = accepted(muon, LLAMA_1B, LARGE, workers=8)
    assert (planned.stage, planned.precision) == (0, "FP32")
    found = refused(muon, LLAMA_8B, LARGE, workers=8)
    assert [candidate.stage for candidate in found.candidates] == [0]
    assert found.proposal == "Set training.optimizer.type to AdamW, which ZeRO may shard."


@pytest.mark.parametrize(
    ("offload", "lowest"), [({"optimizer": "CPU"}, 1), ({"weights": "CPU", "optimizer": "CPU"}, 3), ({}, 0)]
)
def test_a_stage_that_does_not_offload_is_not_planned(offload: dict[str, str], lowest: int) -> None:
    spec = language(128, training={"precision": "FP32"}, zero={"offload": offload})
    assert accepted(spec, LLAMA_1B, LARGE).candidates[0].stage == lowest


def need_of(spec: FineTuneJobSpec, model: ModelShape, **how: Any) -> MemoryEstimate:
    return estimate(model, spec, **{"stage": 0, "workers": 1, "micro_batch_size": 8, "precision": "FP32"} | how)


# --- rows of several sequences


def test_rows_of_several_sequences_keep_the_activations_of_each() -> None:
    one, two, three = (need_of(spec, BERT).activations for spec in (classification(), vectors(), vectors("negative")))
    assert (two, three) == (2 * one, 3 * one)


def test_more_workers_do_not_make_a_micro_batch_smaller_whose_rows_are_compared() -> None:
    asked = {"globalBatchSize": 32, "microBatchSize": 32}
    assert accepted(vectors(training=asked), BERT, LARGE, workers=8).micro_batch_size == 32


def test_a_lowered_micro_batch_is_not_said_to_change_nothing_where_rows_are_compared() -> None:
    found = accepted(vectors(training={"globalBatchSize": 4096, "microBatchSize": 4096}), BERT, MIDDLE)
    assert found.micro_batch_size < 4096
    assert "is lowered; each row is compared with fewer others" in found.sentence


def test_one_row_at_a_time_does_not_do_where_rows_are_compared() -> None:
    need = need_of(vectors(), BERT, micro_batch_size=1).total
    accelerator = AcceleratorSpec("a tiny one", int(need / (1 - MARGIN)) + (1 << 20), has_bf16=False)
    refused(vectors(zero={"stage": 0}), BERT, accelerator)


# --- the stage


def test_one_worker_spreads_nothing() -> None:
    found = accepted(classification(), BERT, MIDDLE)
    assert (found.stage, found.micro_batch_size) == (0, 32)


def test_the_lowest_stage_that_fits_is_taken() -> None:
    found = accepted(language(), LLAMA_8B, LARGE, workers=8)
    assert [(row.stage, row.fits) for row in found.candidates] == [(1, False), (2, True), (3, True)]
    assert found.stage == 2
    assert found.memory == found.candidates[1].memory


def test_more_than_one_model_of_weights_needs_stage_3() -> None:
    found = accepted(language(), LLAMA_70B, LARGE, workers=64)
    assert [row.fits for row in found.candidates] == [False, False, True]
    assert found.stage == 3


def test_a_stage_that_the_job_sets_is_kept() -> None:
    found = accepted(classification(zero={"stage": 3}), BERT, MIDDLE, workers=2)
    assert found.stage == 3
    assert [row.stage for row in found.candidates] == [3]


def test_in_32_bits_every_stage_is_considered() -> None:
    found = accepted(classification(), BERT, SMALL, workers=4)
    assert [row.stage for row in found.candidates] == [0, 1, 2, 3]
    assert found.stage == 0


def test_a_plan_leaves_a_margin() -> None:
    spec = classification(training={"microBatchSize": 8})
    total = accepted(spec, BERT, LARGE).memory.total
    just_enough = int(total / (1 - MARGIN)) + 1
    assert accepted(spec, BERT, AcceleratorSpec("", just_enough, has_bf16=True)).micro_batch_size == 8
    assert accepted(spec, BERT, AcceleratorSpec("", just_enough - 2, has_bf16=True)).micro_batch_size < 8


# --- the micro-batch


def test_a_micro_batch_that_the_job_leaves_open_is_raised_to_a_workers_share() -> None:
    spec = classification(training={"globalBatchSize": 100})
    assert accepted(spec, BERT, LARGE, workers=3).micro_batch_size == 34


def test_a_micro_batch_that_the_job_sets_is_not_raised() -> None:
    spec = classification(training={"globalBatchSize": 256, "microBatchSize": 4})
    assert accepted(spec, BERT, LARGE, workers=2).micro_batch_size == 4


def test_the_default_counts_as_set_where_the_job_writes_it() -> None:
    spec = classification(training={"globalBatchSize": 256, "microBatchSize": 8})
    assert accepted(spec, BERT, LARGE).micro_batch_size == 8


def test_no_micro_batch_is_larger_than_a_workers_share() -> None:
    spec = classification(training={"globalBatchSize": 4, "microBatchSize": 64})
    found = accepted(spec, BERT, LARGE, workers=2)
    assert found.micro_batch_size == 2
    assert "lowered" not in found.sentence


def test_a_micro_batch_that_does_not_fit_is_lowered_and_the_plan_says_so() -> None:
    spec = language(training={"globalBatchSize": 512, "microBatchSize": 64})
    found = accepted(spec, LLAMA_8B, LARGE, workers=4)
    assert found.stage == 2
    assert 1 < found.micro_batch_size < 64
    assert found.sentence.endswith("training.microBatchSize 64 does not fit and is lowered; the result is the same.")


def test_the_largest_micro_batch_is_taken_that_makes_the_fewest_passes() -> None:
    spec = classification(training={"globalBatchSize": 1000})
    found = accepted(spec, BERT, SMALL)
    passes = -(-1000 // found.micro_batch_size)
    one_pass_less = -(-1000 // (passes - 1))
    assert found.memory.total <= SMALL.usable_bytes
    assert need_of(spec, BERT, micro_batch_size=one_pass_less).total > SMALL.usable_bytes
    assert -(-1000 // (found.micro_batch_size - 1)) > passes


# --- the precision


@pytest.mark.parametrize(
    ("precision", "accelerator", "taken"),
    [("Auto", MIDDLE, "BF16"), ("Auto", SMALL, "FP32"), ("FP32", MIDDLE, "FP32"), ("BF16", SMALL, "BF16")],
)
def test_the_precision_is_the_jobs_or_what_the_accelerator_has(
    precision: str, accelerator: AcceleratorSpec, taken: str
) -> None:
    found = accepted(classification(training={"precision": precision}), BERT, accelerator)
    assert f"in {taken} on 1 worker" in found.sentence
    assert found.memory.weights == (2 if taken == "BF16" else 4) * BERT.parameters_for(2)


def test_stage_0_in_16_bits_is_stage_1() -> None:
    """As the trainer runs it."""
    spec = classification()
    whole, spread = (need_of(spec, BERT, stage=stage, workers=4, precision="BF16") for stage in (0, 1))
    assert whole == spread


# --- what fits nowhere


def test_a_refusal_proposes_the_fewest_workers_that_fit() -> None:
    spec = language()
    found = refused(spec, LLAMA_8B, LARGE, workers=1)
    assert found.proposal == (
        "Set resources.workers to 3, the fewest that fit, or zero.offload.optimizer to CPU, which takes time and main"
        " memory."
    )
    assert isinstance(plan(spec, LLAMA_8B, LARGE, 3), TrainingPlan)
    assert isinstance(plan(spec, LLAMA_8B, LARGE, 2), Refusal)
    assert {row.fits for row in found.candidates} == {False}
    assert "ZeRO stage 2 with micro-batches of 1 in BF16 on 1 worker" in found.sentence
    assert "the largest part: optimizer" in found.sentence


def test_a_refusal_of_a_stage_proposes_another() -> None:
    found = refused(language(zero={"stage": 0}), LLAMA_8B, LARGE, workers=8)
    assert found.proposal == "Leave zero.stage open: stage 2 fits."


def test_a_refusal_may_need_both() -> None:
    found = refused(language(zero={"stage": 1}), LLAMA_70B, LARGE, workers=8)
    assert found.proposal.startswith("Set resources.workers to ")
    assert found.proposal.endswith("; leave zero.stage open.")


def test_where_workers_do_not_help_shorter_sequences_may() -> None:
    """Activations are not spread."""
    spec = language(max_length=65536, training={"microBatchSize": 1})
    found = refused(spec, LLAMA_1B, MIDDLE, workers=8)
    length = int(found.proposal.removeprefix("Set task.maxLength to ").partition(",")[0].removesuffix("."))
    assert isinstance(plan(language(max_length=length), LLAMA_1B, MIDDLE, 8), TrainingPlan)
    assert isinstance(plan(language(max_length=length + 128), LLAMA_1B, MIDDLE, 8), Refusal)


def test_a_refusal_may_offer_both_more_workers_and_shorter_sequences() -> None:
    again = {"activationCheckpointing": "Full"}
    spec = language(max_length=80000, training=again)
    found = refused(spec, LLAMA_8B, LARGE, workers=5)
    workers, length = found.proposal.removeprefix("Set resources.workers to ").split(
        ", the fewest that fit, or task.maxLength to "
    )
    length = length.partition(",")[0]
    assert isinstance(plan(spec, LLAMA_8B, LARGE, int(workers)), TrainingPlan)
    assert isinstance(plan(language(int(length), training=again), LLAMA_8B, LARGE, 5), TrainingPlan)


def test_where_nothing_helps_a_refusal_says_so() -> None:
    found = refused(language(), LLAMA_70B, AcceleratorSpec("a toy", GIB, has_bf16=True))
    assert found.proposal.startswith("No stage, no number of workers and no sequence length would do by itself")


# --- what the need is made of


def test_freezing_lowers_every_part_but_the_weights() -> None:
    frozen = classification(method={"freeze": {"embeddings": True, "bottomLayers": 9}})
    before, after = need_of(classification(), BERT), need_of(frozen, BERT)
    assert after.weights == before.weights
    assert after.gradients == 4 * (3 * BERT.layer_parameters + BERT.classifier_parameters(2))
    assert after.optimizer == 2 * after.gradients
    assert after.activations < before.activations / 3


def test_frozen_layers_above_embeddings_that_learn_keep_their_activations() -> None:
    frozen = classification(method={"freeze": {"bottomLayers": 9}})
    assert need_of(frozen, BERT).activations == need_of(classification(), BERT).activations


def test_labels_widen_the_head() -> None:
    many = classification(labels=[str(number) for number in range(1000)])
    assert need_of(many, BERT).weights - need_of(classification(), BERT).weights == 4 * 998 * 769


def test_a_sequence_is_no_longer_than_the_model_can_take() -> None:
    longest, longer = language(max_length=1024), language(max_length=4096)
    assert need_of(longest, GPT2_XL) == need_of(longer, GPT2_XL)


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("precision", ["FP32", "BF16"])
def test_more_workers_never_need_more_of_each(stage: int, precision: str) -> None:
    totals = [
        need_of(language(), LLAMA_8B, stage=stage, workers=count, precision=precision).total
        for count in (2, 3, 4, 8, 64)
    ]
    assert totals == sorted(totals, reverse=True)


def test_a_cpu_has_no_context_and_one_bucket_where_a_gpu_overlaps_two() -> None:
    on_gpu, on_cpu = (need_of(classification(), BERT, stage=2, workers=2, device=device) for device in ("cuda", "cpu"))
    assert (on_gpu.overhead, on_cpu.overhead) == (CUDA_CONTEXT, 0)
    assert on_gpu.buffers > on_cpu.buffers
    assert on_gpu.buffers < 2 * 4 * 500_000_000, "a bucket is no larger than all gradients"
    assert on_gpu.activations == on_cpu.activations


@pytest.mark.parametrize(("stage", "precision"), [(0, "FP32"), (1, "BF16")])
def test_one_worker_has_no_buckets_where_nothing_is_spread(stage: int, precision: str) -> None:
    alone, two = (
        need_of(classification(), BERT, stage=stage, workers=workers, precision=precision, micro_batch_size=1)
        for workers in (1, 2)
    )
    assert alone.buffers == 0 < two.buffers


def test_the_largest_part_has_a_name() -> None:
    assert need_of(language(), LLAMA_8B, micro_batch_size=1).largest == "optimizer"
    assert (
        MemoryEstimate(weights=1, gradients=2, optimizer=3, activations=7, buffers=5, overhead=6).largest
        == "activations"
    )
    assert MemoryEstimate(weights=1, gradients=2, optimizer=3, activations=7, buffers=5, overhead=6).total == 24


def test_an_adapter_is_trained_where_all_weights_do_not_fit() -> None:
    whole, adapter = language(), language(method={"type": "LoRA"})
    refused(whole, LLAMA_8B, MIDDLE)
    found = accepted(adapter, LLAMA_8B, MIDDLE)
    # 2 bytes for each of 8.03 billion weights, and 16 for each of the adapter's 41.9 million parameters.
    assert found.memory.weights == 2 * LLAMA_8B.parameters
    assert found.memory.optimizer + found.memory.gradients == 18 * 41_943_040
    attention = accepted(language(method={"type": "LoRA", "lora": {"targets": "Attention"}}), LLAMA_8B, MIDDLE)
    assert attention.memory.optimizer < found.memory.optimizer


def test_dora_is_planned_at_no_stage_that_cuts_the_weights() -> None:
    dora = language(method={"type": "LoRA", "lora": {"variant": "DoRA"}})
    assert [tried.stage for tried in accepted(dora, LLAMA_8B, LARGE, 2).candidates] == [1, 2]
    assert [tried.stage for tried in refused(dora, LLAMA_70B, LARGE, 2).candidates] == [1, 2]
    assert [tried.stage for tried in refused(language(), LLAMA_70B, LARGE, 2).candidates] == [1, 2, 3]


def test_weights_of_four_bits_fit_where_those_of_sixteen_do_not() -> None:
    """QLoRA's own claim: 65 billion parameters on one accelerator of 48 GB."""
    four = language(method={"type": "LoRA", "quantization": {"type": "NF4"}})
    refused(language(method={"type": "LoRA"}), LLAMA_70B, LARGE)
    found = accepted(four, LLAMA_70B, LARGE)
    assert "in BF16 beside weights in NF4 on 1 worker needs" in found.sentence
    assert [tried.stage for tried in found.candidates] == [0, 2]
    # 4.5 bits for each of 68.5 billion numbers; 16 for 2.1 billion of embeddings and the output layer, and for the
    # largest layer as it is multiplied.
    linear = 80 * sum(inputs * outputs for inputs, outputs in LLAMA_70B.linear_matrices)
    others = LLAMA_70B.parameters - linear
    assert found.memory.weights == linear * 9 // 16 + 2 * (others + LLAMA_70B.layer_matrix)


# --- activations that are computed again, and what is offloaded

AUTO = {"activationCheckpointing": "Auto"}
LLAMA_7B = shape("meta-llama/Llama-2-7b-hf")


def test_layers_are_computed_again_where_nothing_else_fits_and_the_plan_says_why() -> None:
    long = language(8192, training=AUTO | {"globalBatchSize": 8})
    refused(language(8192, training={"globalBatchSize": 8}), LLAMA_8B, LARGE, 8)
    found = accepted(long, LLAMA_8B, LARGE, 8)
    assert (found.stage, found.activation_checkpointing) == (2, "Full")
    assert ", layers computed again, on 8 workers needs" in found.sentence
    assert found.reasons[0].startswith("Layers are computed again in the backward pass: if not, a micro-batch of 1")
    assert found.reasons[1].startswith("Stage 2: at stage 1 a micro-batch of 1 would need")


def test_layers_are_not_computed_again_where_all_fits() -> None:
    found = accepted(language(training=AUTO), LLAMA_1B, LARGE)
    assert (found.activation_checkpointing, found.reasons) == ("None", ())


def test_a_job_that_keeps_its_activations_is_told_that_it_need_not() -> None:
    found = refused(language(8192, training={"globalBatchSize": 8}), LLAMA_8B, LARGE, 8)
    assert found.proposal == (
        "Leave training.activationCheckpointing open: with layers that are computed again it fits."
    )


def test_70b_fits_two_nodes_of_eight() -> None:
    whole = language(4096, training=AUTO | {"globalBatchSize": 64})
    adapter = language(4096, training=AUTO | {"globalBatchSize": 64}, method={"type": "LoRA"})
    offloading = whole.model_copy(update={"zero": Zero.model_validate({"offload": {"optimizer": "CPU"}})})
    assert accepted(adapter, LLAMA_70B, LARGE, 16).stage == 3
    found = plan(whole, LLAMA_70B, LARGE, 16)
    assert isinstance(found, Refusal)
    assert "or zero.offload.optimizer to CPU" in found.proposal
    planned = accepted(offloading, LLAMA_70B, LARGE, 16)
    assert (planned.stage, planned.activation_checkpointing, planned.memory.optimizer) == (3, "Full", 0)


@pytest.mark.parametrize(
    ("stage", "where", "gone"),
    [
        pytest.param(2, {"optimizer": "CPU"}, {"optimizer"}, id="the optimizer"),
        pytest.param(3, {"optimizer": "CPU"}, {"optimizer", "gradients"}, id="at stage 3 the gradients too"),
        pytest.param(3, {"optimizer": "CPU", "weights": "CPU"}, {"optimizer", "gradients", "weights"}, id="weights"),
    ],
)
def test_what_is_offloaded_needs_no_memory_of_the_accelerator(stage: int, where: Any, gone: set[str]) -> None:
    how: dict[str, Any] = {"stage": stage, "workers": 8, "precision": "BF16"}
    here, there = (need_of(language(zero=zero), LLAMA_8B, **how) for zero in ({}, {"offload": where}))
    assert {part for part, size in asdict(there).items() if size < getattr(here, part)} == gone
    assert there.optimizer == 0
    on_cpu = need_of(language(zero={"offload": where}), LLAMA_8B, device="cpu", **how)
    assert on_cpu.total > need_of(language(), LLAMA_8B, device="cpu", **how).total - here.weights, (
        "it is all one memory"
    )


def of_logits(spec: FineTuneJobSpec, model: ModelShape, rows: int) -> int:
    """How much more all logits are than those of a chunk: nobody else's loss was in chunks."""
    tokens = rows * spec.max_length
    return tokens * logits(model, 2) - turn_bytes(model, tokens, 2, smoothed=False)


@pytest.mark.parametrize(
    ("model", "stage", "workers", "length", "rows", "published"),
    [
        pytest.param(LLAMA_7B, 3, 8, 4096, 2, 75.7, id="LLaMA 7B on A800s, two sequences"),
        pytest.param(LLAMA_8B, 2, 8, 8192, 1, 100.6, id="8B"),
        pytest.param(LLAMA_70B, 3, 64, 4096, 1, 162.0, id="70B"),
    ],
)
def test_plans_are_as_others_measured_or_calculated(
    model: ModelShape, stage: int, workers: int, length: int, rows: int, published: float
) -> None:
    spec = language(length, training={"globalBatchSize": workers * rows})
    how = {"stage": stage, "workers": workers, "micro_batch_size": rows, "precision": "BF16"}
    assert (need_of(spec, model, **how).total + of_logits(spec, model, rows)) / GIB == pytest.approx(
        published, rel=0.10
    )


@pytest.mark.parametrize(
    ("model", "stage", "workers", "length", "calculated"),
    [(LLAMA_8B, 2, 8, 8192, 48.2), (LLAMA_70B, 3, 64, 4096, 36.0)],
    ids=["8B", "70B"],
)
def test_so_are_those_of_layers_that_are_computed_again(
    model: ModelShape, stage: int, workers: int, length: int, calculated: float
) -> None:
    spec = language(length, training={"globalBatchSize": workers, "activationCheckpointing": "Full"})
    how = {"stage": stage, "workers": workers, "micro_batch_size": 1, "precision": "BF16"}
    assert (need_of(spec, model, **how).total + of_logits(spec, model, 1)) / GIB == pytest.approx(calculated, rel=0.15)
