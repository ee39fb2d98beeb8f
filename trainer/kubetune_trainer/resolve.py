"""How a run trains: what its manifest leaves open is worked out once, before the workers start, and recorded so."""

from dataclasses import dataclass, replace

from kubetune_api.job import FineTuneJobSpec
from kubetune_planner.plan import AcceleratorSpec, Refusal, plan
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import Precision, stage_that_runs
from kubetune_trainer.records import ResolvedTraining


@dataclass(frozen=True)
class Hardware:
    """What the workers can compute on."""

    gpus: int = 0
    """All that there are, over all nodes; 0: the workers compute on the CPU."""
    gpu: AcceleratorSpec | None = None
    """One of them; None without any."""


def resolve(
    spec: FineTuneJobSpec, *, workers: int | None, hardware: Hardware, shape: ModelShape | None, max_length: int
) -> tuple[ResolvedTraining, tuple[str, ...]]:
    """How the run trains, and what its author should know of that, in sentences.

    The defaults of `spec` are filled in. `workers` are those that are asked for. `shape` is the model's, None where it
    cannot be told; `max_length` is the longest sequence that job and model allow, in tokens.
    """
    count, notes = _workers(workers, hardware.gpus)
    precision = _precision(spec, hardware)
    asked = spec.zero.stage
    resolved = ResolvedTraining(
        stage=(0 if count == 1 else 2) if asked is None else asked,
        precision=precision,
        micro_batch_size=spec.training.micro_batch,
        workers=count,
        learning_rate=spec.training.peak_learning_rate,
        max_length=max_length,
    )
    is_open = asked is None or spec.training.micro_batch_size is None
    if is_open and hardware.gpu is not None and shape is not None:
        resolved, told = _fitted(resolved, spec, shape, hardware.gpu)
        notes += told
    return replace(resolved, stage=stage_that_runs(precision, resolved.stage)), notes


def _workers(asked: int | None, gpus: int) -> tuple[int, tuple[str, ...]]:
    if asked is None:
        return max(1, gpus), ()
    if 0 < gpus < asked:
        note = f"{asked} workers were requested and there are {gpus} GPUs: {gpus} workers train, with the same result"
        return gpus, (note,)
    return asked, ()


def _precision(spec: FineTuneJobSpec, hardware: Hardware) -> Precision:
    """On a CPU `Auto` is FP32: few have instructions for bfloat16, and without them it is slower."""
    if spec.training.precision == "Auto":
        return "BF16" if hardware.gpu is not None and hardware.gpu.has_bf16 else "FP32"
    return spec.training.precision


def _fitted(
    resolved: ResolvedTraining, spec: FineTuneJobSpec, shape: ModelShape, gpu: AcceleratorSpec
) -> tuple[ResolvedTraining, tuple[str, ...]]:
    """The stage and the micro-batch that fit the GPU's memory; where none does, those that need least are tried."""
    found = plan(spec, shape, gpu, resolved.workers)
    if isinstance(found, Refusal):
        least = min(found.candidates, key=lambda candidate: candidate.memory.total)
        fitted = replace(resolved, stage=least.stage, micro_batch_size=least.micro_batch_size)
        return fitted, (f"{found.sentence} {found.proposal} It is tried all the same.",)
    return replace(resolved, stage=found.stage, micro_batch_size=found.micro_batch_size), (found.sentence,)
