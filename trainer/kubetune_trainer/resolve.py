"""How a run trains: what its manifest leaves open is worked out once, before the workers start, and recorded so."""

from dataclasses import dataclass, replace
from math import ceil

from kubetune_api.families import FAMILIES
from kubetune_api.job import FineTuneJobSpec
from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_api.text import plural
from kubetune_planner.plan import AcceleratorSpec, Refusal, plan
from kubetune_planner.search import Checkpointing, changed
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import Precision, precision_that_runs, stage_that_runs
from kubetune_trainer.errors import RunError
from kubetune_trainer.resolved import ResolvedTraining

_PART = " MIG "
"""In the name that CUDA gives a part of a GPU: `NVIDIA A100-SXM4-80GB MIG 3g.40gb`."""


@dataclass(frozen=True)
class Hardware:
    """What the workers can compute on."""

    gpus: int = 0
    """All that there are, over all nodes; 0: the workers compute on the CPU."""
    gpu: AcceleratorSpec | None = None
    """One of them; None without any."""
    memory: int = 0
    """Main memory of the nodes that workers run on, all together, in bytes; 0 where it is not known."""


def resolve(
    spec: FineTuneJobSpec,
    *,
    workers: int | None,
    hardware: Hardware,
    shape: ModelShape | None,
    max_length: int,
    mean_length: float,
) -> tuple[ResolvedTraining, tuple[str, ...]]:
    """How the run trains, and what its author should know of that, in sentences.

    The defaults of `spec` are filled in. `workers` are those that are asked for. `shape` is the model's, None where it
    cannot be told; `max_length` is the longest sequence that job and model allow, in tokens, and `mean_length` what a
    row of the training split has on average.
    RunError (INVALID_MANIFEST) where the GPU does not compute in the precision that the job sets, or where a task that
    compares the rows of a micro-batch would get one, or where several workers would share a GPU.
    """
    count, notes = worker_count(workers, hardware.gpus)
    _refuse_parts(count, hardware.gpu)
    precision = _precision(spec, hardware.gpu)
    asked = spec.zero.stage
    stage, micro_batch = asked, spec.training.micro_batch
    if stage is None:
        stage, micro_batch = _fitted_to_cpus(spec, shape, hardware.memory // count, count)
    resolved = ResolvedTraining(
        stage=stage,
        precision=precision,
        micro_batch_size=micro_batch,
        workers=count,
        learning_rate=spec.training.peak_learning_rate,
        max_length=max_length,
        activation_checkpointing=_unplanned(spec),
        offload=spec.zero.offload,
    )
    if shape is not None:
        resolved, told = _filled(resolved, spec, shape, hardware, mean_length)
        notes += told
    _refuse_single_rows(resolved, spec)
    lowest = max(resolved.stage, spec.zero.offload.lowest_stage)
    return replace(resolved, stage=stage_that_runs(precision, lowest)), notes


def refuse_missing_gpus(run: Run, there: Hardware) -> None:
    """RunError (ACCELERATOR_FAILED) where the profile gives each worker a GPU and not every one has it."""
    wanted = run.workers or 1
    if run.needs_gpu and there.gpus < wanted:
        raise RunError(
            Reason.ACCELERATOR_FAILED,
            f"the profile gives each of {plural(wanted, 'worker')} a GPU, and Ray finds {there.gpus or 'none'}: nothing"
            " is trained on CPUs instead; the platform team must look at the device plugin and the driver of the nodes",
        )


def _refuse_parts(workers: int, gpu: AcceleratorSpec | None) -> None:
    if workers > 1 and gpu is not None and _PART in f"{gpu.name} ":
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"spec.resources.workers: {workers} workers would train on parts of GPUs ({gpu.name}), and NCCL does not"
            " connect two parts of one; set it to 1",
        )


def _filled(
    resolved: ResolvedTraining, spec: FineTuneJobSpec, shape: ModelShape, hardware: Hardware, mean_length: float
) -> tuple[ResolvedTraining, tuple[str, ...]]:
    """With the stage and the micro-batch that suit the hardware where the job leaves them open, and what to tell."""
    if hardware.gpu is not None:
        wishes = (spec.zero.stage, spec.training.micro_batch_size, spec.training.activation_checkpointing)
        is_open = None in wishes or "Auto" in wishes
        return _fitted(resolved, spec, shape, hardware.gpu) if is_open else (resolved, ())
    enough = _enough_rows(resolved, spec, shape, mean_length)
    return replace(resolved, micro_batch_size=enough, longest_rows=resolved.micro_batch_size), ()


def _enough_rows(resolved: ResolvedTraining, spec: FineTuneJobSpec, shape: ModelShape, mean_length: float) -> int:
    """The micro-batch whose rows have as many tokens as those of the one that is resolved if each was the longest: few
    passes do the work of many where rows are not padded."""
    rows, task = resolved.micro_batch_size, spec.task_row
    asked = spec.training.micro_batch_size is not None
    if asked or task.compares_rows or not FAMILIES[shape.family].joins_rows:
        return rows
    share = ceil(spec.training.global_batch_size / resolved.workers)
    enough = max(rows, min(share, int(rows * resolved.max_length / mean_length)))
    return ceil(share / ceil(share / enough))


def _refuse_single_rows(resolved: ResolvedTraining, spec: FineTuneJobSpec) -> None:
    if spec.task_row.compares_rows and resolved.micro_batch_size < 2:
        raise RunError(
            Reason.INVALID_MANIFEST,
            "spec.training.microBatchSize: the memory of a worker has room for one row at a time, and"
            f" {spec.task.type} compares each row with the others of its micro-batch; lower spec.task.maxLength, raise"
            " spec.zero.stage, or choose a smaller model",
        )


def _unplanned(spec: FineTuneJobSpec) -> Checkpointing:
    """What layers keep where no plan says."""
    return "Full" if spec.training.activation_checkpointing == "Full" else "None"


def _fitted_to_cpus(spec: FineTuneJobSpec, shape: ModelShape | None, memory: int, workers: int) -> tuple[int, int]:
    """The lowest stage that fits `memory`, that of each worker, in bytes, with the micro-batch that does; stage 2 where
    that cannot be told, and what needs least where nothing fits."""
    micro_batch = spec.training.micro_batch
    if workers == 1:
        return 0, micro_batch
    if shape is None or not memory:
        return 2, micro_batch
    given = changed(spec, "training", micro_batch_size=micro_batch, activation_checkpointing=_unplanned(spec))
    found = plan(given, shape, AcceleratorSpec("a worker's memory", memory, has_bf16=False), workers)
    if isinstance(found, Refusal):
        return spec.method.highest_stage, spec.training.micro_batch_size or 1
    # A plan keeps to a worker's share of a batch, which needs no telling.
    fits = found.micro_batch_size >= min(micro_batch, ceil(spec.training.global_batch_size / workers))
    return found.stage, micro_batch if fits else found.micro_batch_size


def worker_count(asked: int | None, gpus: int) -> tuple[int, tuple[str, ...]]:
    """How many workers train where there are so many GPUs, and the note for who asked for more."""
    if asked is None:
        return max(1, gpus), ()
    if 0 < gpus < asked:
        note = f"{asked} workers were requested and there are {gpus} GPUs: {gpus} workers train, with the same result"
        return gpus, (note,)
    return asked, ()


def _precision(spec: FineTuneJobSpec, gpu: AcceleratorSpec | None) -> Precision:
    """That which runs; RunError (INVALID_MANIFEST) where what there is does not compute in it."""
    precision = precision_that_runs(spec.training.precision, has_bf16=gpu is not None and gpu.has_bf16)
    if precision == "FP16" and gpu is None:
        raise RunError(
            Reason.INVALID_MANIFEST,
            "spec.training.precision: FP16 trains on GPUs only, and there is none; set FP32, BF16 or Auto",
        )
    if precision == "BF16" and gpu is not None and not gpu.has_bf16:
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"spec.training.precision: {gpu.name} does not compute in BF16; set FP32. In a cluster, where Auto became"
            " BF16, the profile describes another GPU: the platform team sets its spec.accelerator.bf16 to false.",
        )
    return precision


def _fitted(
    resolved: ResolvedTraining, spec: FineTuneJobSpec, shape: ModelShape, gpu: AcceleratorSpec
) -> tuple[ResolvedTraining, tuple[str, ...]]:
    """The stage, the micro-batch and the checkpointing of activations that fit the GPU's memory; where none does, those
    that need least are tried, and a micro-batch that the job sets stays, as does one beside a stage that it sets."""
    found = plan(spec, shape, gpu, resolved.workers)
    if isinstance(found, Refusal):
        least = min(found.candidates, key=lambda candidate: candidate.memory.total)
        asked = spec.training.micro_batch_size
        fitted = replace(
            resolved,
            stage=least.stage,
            micro_batch_size=asked or least.micro_batch_size,
            activation_checkpointing=least.activation_checkpointing,
        )
        kept = f", with the training.microBatchSize of {asked} that is set" if asked else ""
        return fitted, (f"{found.sentence} {found.proposal} It is tried all the same{kept}.",)
    fitted = replace(resolved, activation_checkpointing=found.activation_checkpointing)
    if spec.zero.stage is None or spec.training.micro_batch_size is None:
        fitted = replace(fitted, stage=found.stage, micro_batch_size=found.micro_batch_size)
    elif found.activation_checkpointing == "None":
        return fitted, ()
    return fitted, (" ".join((found.sentence, *found.reasons)),)
