"""What a manifest leaves open, worked out once: workers, precision, stage and micro-batch as they run."""

from typing import Any

import pytest

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_planner.catalogue import shape_of
from kubetune_planner.plan import AcceleratorSpec, TrainingPlan, plan
from kubetune_trainer.errors import RunError
from kubetune_trainer.resolve import Hardware, refuse_missing_gpus, resolve
from kubetune_trainer.resolved import ResolvedTraining
from support.tiny_models import job_for, spec_for

GIB = 1 << 30
_BERT = "google-bert/bert-base-uncased"
BERT = shape_of(f"hf://{_BERT}")
CPU = Hardware(memory=64 * GIB)


def gpus(count: int, memory: int = 80 * GIB, *, has_bf16: bool = True) -> Hardware:
    return Hardware(count, AcceleratorSpec("a GPU", memory, has_bf16))


def spec(stage: int | None = None, **training: Any) -> FineTuneJobSpec:
    zero = {} if stage is None else {"stage": stage}
    return spec_for("SequenceClassification", training={"globalBatchSize": 32, **training}, zero=zero).resolved


def resolved(job: FineTuneJobSpec, hardware: Hardware = CPU, workers: int | None = None) -> ResolvedTraining:
    return resolve(job, workers=workers, hardware=hardware, shape=BERT, max_length=128, mean_length=128)[0]


def notes(job: FineTuneJobSpec, hardware: Hardware = CPU, workers: int | None = None) -> tuple[str, ...]:
    return resolve(job, workers=workers, hardware=hardware, shape=BERT, max_length=128, mean_length=128)[1]


@pytest.mark.parametrize(
    ("asked", "workers", "stage"),
    [
        pytest.param(None, 1, 0, id="left open, one worker has nothing to spread"),
        pytest.param(None, 2, 0, id="left open, what fits whole on each worker is spread over none"),
        pytest.param(0, 4, 0, id="0 is a wish, not a gap"),
        pytest.param(3, 1, 3, id="3 on one worker"),
    ],
)
def test_the_stage_on_cpus(asked: int | None, workers: int, stage: int) -> None:
    assert resolved(spec(asked), workers=workers).stage == stage


@pytest.mark.parametrize(
    ("memory", "stage"),
    [
        pytest.param(8 * GIB, 0, id="room for all"),
        pytest.param(3 * GIB, 3, id="no room for the whole on each"),
        pytest.param(1 * GIB, 3, id="room for nothing: what needs least is tried"),
        pytest.param(0, 2, id="a memory that is not known"),
    ],
)
def test_the_stage_on_cpus_is_the_lowest_that_fits_the_workers_share_of_memory(memory: int, stage: int) -> None:
    """N8"""
    assert resolved(spec(), Hardware(memory=4 * memory), workers=4).stage == stage


def test_a_micro_batch_that_does_not_fit_the_memory_of_cpus_is_lowered_with_the_stage() -> None:
    """N8: at the lowest stage with a micro-batch that fits, or it would be killed for memory there."""
    job = spec(globalBatchSize=512, microBatchSize=128)
    fitted = resolve(
        job, workers=4, hardware=Hardware(memory=4 * 4 * GIB), shape=BERT, max_length=512, mean_length=512
    )[0]
    assert (fitted.stage, 1 <= fitted.micro_batch_size < 128) == (0, True)


@pytest.mark.parametrize(
    ("offload", "hardware", "stage"),
    [
        pytest.param({"optimizer": "CPU"}, CPU, 1, id="one worker on a CPU"),
        pytest.param({"optimizer": "CPU"}, gpus(1, has_bf16=False), 1, id="one GPU with room for all"),
        pytest.param({"weights": "CPU"}, gpus(1), 3, id="weights"),
        pytest.param({}, CPU, 0, id="nothing offloaded"),
    ],
)
def test_what_is_offloaded_says_the_lowest_stage(offload: dict[str, str], hardware: Hardware, stage: int) -> None:
    job = spec_for("SequenceClassification", zero={"offload": offload}).resolved
    ran = resolved(job, hardware, workers=1)
    assert (ran.stage, ran.offload) == (stage, job.zero.offload)


@pytest.mark.parametrize(("asked", "runs"), [("Full", "Full"), ("None", "None"), ("Auto", "None")])
def test_activation_checkpointing_is_resolved(asked: str, runs: str) -> None:
    assert resolved(spec(activationCheckpointing=asked)).activation_checkpointing == runs


@pytest.mark.parametrize(
    ("mean", "batch", "task", "model", "rows"),
    [
        pytest.param(128, 32, "SequenceClassification", _BERT, 8, id="rows as long as they may be"),
        pytest.param(40, 32, "SequenceClassification", _BERT, 16, id="short rows, in two passes as even"),
        pytest.param(16, 32, "SequenceClassification", _BERT, 32, id="a whole global batch"),
        pytest.param(16, 6, "SequenceClassification", _BERT, 6, id="a batch with fewer rows than any pass"),
        pytest.param(16, 32, "Embedding", _BERT, 8, id="rows that are compared with each other"),
        pytest.param(16, 32, "CausalLM", "openai-community/gpt2", 32, id="a language model"),
        pytest.param(16, 32, "SequenceClassification", "microsoft/deberta-v3-base", 8, id="rows that are padded"),
    ],
)
def test_on_cpus_a_pass_takes_more_short_rows_where_they_are_not_padded(
    mean: float, batch: int, task: str, model: str, rows: int
) -> None:
    job, shape = spec_for(task, training={"globalBatchSize": batch}).resolved, shape_of(f"hf://{model}")
    found = resolve(job, workers=None, hardware=CPU, shape=shape, max_length=128, mean_length=mean)[0]
    assert (found.micro_batch_size, found.longest_rows) == (rows, min(8, batch))


def test_a_micro_batch_that_is_set_or_planned_for_a_gpu_stays() -> None:
    for job, hardware in ((spec(microBatchSize=2), CPU), (spec(), gpus(2))):
        found, short = (
            resolve(job, workers=None, hardware=hardware, shape=BERT, max_length=128, mean_length=mean)[0]
            for mean in (128, 16)
        )
        assert found == short


@pytest.mark.parametrize(
    ("gib", "open_fields", "runs"),
    [
        pytest.param(80, True, "None", id="room for all"),
        pytest.param(4, True, "None", id="room for a smaller micro-batch, which costs less"),
        pytest.param(4, False, "Full", id="little room for what is set"),
    ],
)
def test_on_a_gpu_layers_are_computed_again_where_memory_is_short(gib: int, open_fields: bool, runs: str) -> None:
    set_by_its_author: dict[str, Any] = {} if open_fields else {"stage": 1, "microBatchSize": 32}
    job = spec(globalBatchSize=64, **set_by_its_author)
    found, said = resolve(job, workers=2, hardware=gpus(2, gib * GIB), shape=BERT, max_length=512, mean_length=512)
    assert found.activation_checkpointing == runs
    assert ("layers computed again" in " ".join(said)) == (runs == "Full")
    if not open_fields:
        assert (found.stage, found.micro_batch_size) == (1, 32)


def test_stage_0_in_bfloat16_is_recorded_as_the_stage_1_that_runs() -> None:
    assert resolved(spec(0, precision="BF16"), workers=2).stage == 1
    assert resolved(spec(0, precision="FP32"), workers=2).stage == 0
    assert resolved(spec(0), gpus(1)).stage == 1


@pytest.mark.parametrize(
    ("wanted", "hardware", "precision"),
    [
        pytest.param("Auto", CPU, "FP32", id="a CPU"),
        pytest.param("BF16", CPU, "BF16", id="a CPU that is told to"),
        pytest.param("Auto", gpus(1), "BF16", id="a GPU that has it"),
        pytest.param("Auto", gpus(1, has_bf16=False), "FP32", id="a GPU that has it not"),
        pytest.param("FP32", gpus(1), "FP32", id="a GPU that is told not to"),
    ],
)
def test_the_precision(wanted: str, hardware: Hardware, precision: str) -> None:
    assert resolved(spec(2, precision=wanted), hardware).precision == precision


@pytest.mark.parametrize(
    ("asked", "hardware", "workers"),
    [
        pytest.param(None, CPU, 1, id="one, where nothing says more"),
        pytest.param(None, gpus(4), 4, id="one for each GPU"),
        pytest.param(3, CPU, 3, id="as asked, on CPUs"),
        pytest.param(2, gpus(4), 2, id="as asked, of more GPUs"),
    ],
)
def test_the_workers(asked: int | None, hardware: Hardware, workers: int) -> None:
    assert resolved(spec(2, microBatchSize=1), hardware, asked).workers == workers
    assert notes(spec(2, microBatchSize=1), hardware, asked) == ()


def test_where_gpus_are_fewer_than_asked_for_they_train_and_it_is_said() -> None:
    job = spec(2, microBatchSize=1)
    assert resolved(job, gpus(2), 4).workers == 2
    assert notes(job, gpus(2), 4) == (
        "4 workers were requested and there are 2 GPUs: 2 workers train, with the same result",
    )


def test_parts_of_gpus_train_one_worker_alone() -> None:
    """NCCL does not connect two parts of one GPU, and Ray counts each part as a GPU."""
    parts = Hardware(2, AcceleratorSpec("NVIDIA A100-SXM4-80GB MIG 3g.40gb", 40 * GIB, has_bf16=True))
    assert resolved(spec(2, microBatchSize=1), parts, 1).workers == 1
    with pytest.raises(RunError, match=r"spec\.resources\.workers: 2 workers would train on parts of GPUs") as refused:
        resolved(spec(2, microBatchSize=1), parts)
    assert refused.value.reason == "InvalidManifest"


@pytest.mark.parametrize("there", [Hardware(), gpus(1)], ids=["none", "one of two"])
def test_a_run_whose_profile_gives_each_worker_a_gpu_does_not_train_on_cpus_instead(there: Hardware) -> None:
    run = Run(job=job_for("SequenceClassification"), run_id="run-1", workers=2, needs_gpu=True)
    with pytest.raises(RunError, match="the profile gives each of 2 workers a GPU, and Ray finds") as refused:
        refuse_missing_gpus(run, there)
    assert refused.value.reason == "AcceleratorFailed"
    refuse_missing_gpus(run, gpus(2))
    refuse_missing_gpus(run.model_copy(update={"needs_gpu": False}), there)


def test_on_a_gpu_what_is_open_is_planned() -> None:
    there = gpus(2)
    assert there.gpu is not None
    assert BERT is not None
    planned = plan(spec(), BERT, there.gpu, 2)
    assert isinstance(planned, TrainingPlan)
    found = resolved(spec(), there)
    assert (found.stage, found.micro_batch_size) == (planned.stage, planned.micro_batch_size) == (1, 16)
    assert notes(spec(), there) == (planned.sentence,)


def test_on_a_gpu_what_is_set_is_left_alone() -> None:
    job = spec(2, microBatchSize=4)
    assert (resolved(job, gpus(2)).stage, resolved(job, gpus(2)).micro_batch_size) == (2, 4)
    assert notes(job, gpus(2)) == ()


def test_a_training_that_no_plan_fits_is_tried_with_what_needs_least_and_it_is_said() -> None:
    tiny = gpus(2, GIB)
    assert tiny.gpu is not None
    assert BERT is not None
    refused = plan(spec(), BERT, tiny.gpu, 2)
    least = min(refused.candidates, key=lambda candidate: candidate.memory.total)
    found = resolved(spec(), tiny)
    assert (found.stage, found.micro_batch_size) == (least.stage, 1)
    (note,) = notes(spec(), gpus(2, GIB))
    assert note.startswith("The training does not fit: ")
    assert note.endswith(" It is tried all the same.")


def test_float16_without_a_gpu_is_refused() -> None:
    with pytest.raises(RunError, match=r"spec\.training\.precision: FP16 trains on GPUs only") as caught:
        resolved(spec(precision="FP16"))
    assert caught.value.reason == Reason.INVALID_MANIFEST
    found = resolved(spec(0, precision="FP16"), gpus(1))
    assert (found.precision, found.stage) == ("FP16", 1)


def test_bfloat16_on_a_gpu_without_it_is_refused_with_the_fields_to_change() -> None:
    with pytest.raises(RunError) as caught:
        resolved(spec(2, precision="BF16"), gpus(1, has_bf16=False))
    assert caught.value.reason == Reason.INVALID_MANIFEST
    assert str(caught.value).startswith("spec.training.precision: a GPU does not compute in BF16; set FP32")
    assert "spec.accelerator.bf16" in str(caught.value)


def test_a_micro_batch_that_is_set_stays_where_no_plan_fits_and_it_is_said() -> None:
    job = spec(microBatchSize=4)
    found = resolved(job, gpus(2, GIB))
    assert (found.stage, found.micro_batch_size) == (resolved(spec(), gpus(2, GIB)).stage, 4)
    (note,) = notes(job, gpus(2, GIB))
    assert note.endswith(" It is tried all the same, with the training.microBatchSize of 4 that is set.")


def test_a_single_row_that_would_be_compared_with_nothing_is_refused() -> None:
    job, little = spec_for("Embedding", zero={"stage": 0}), gpus(1, memory=GIB)
    with pytest.raises(RunError, match=r"spec\.training\.microBatchSize: the memory of a worker has room for one row"):
        resolve(job.resolved, workers=None, hardware=little, shape=BERT, max_length=512, mean_length=512)


def test_without_a_known_shape_nothing_is_planned() -> None:
    found, said = resolve(spec(), workers=None, hardware=gpus(2), shape=None, max_length=128, mean_length=128)
    assert (found.stage, found.micro_batch_size, said) == (2, 8, ())
