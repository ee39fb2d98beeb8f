"""`kubetune plan --compare`: the same job with one model and another, on one accelerator and another."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kubetune_api.accelerators import ACCELERATORS
from kubetune_api.job import FineTuneJob, FineTuneJobSpec
from kubetune_api.profile import FineTuneProfile
from kubetune_api.sentences import closest
from kubetune_api.tables import listed
from kubetune_api.tasks import TASKS
from kubetune_cli.plan import CannotPlanError, accelerator_of, job_and_profiles, shape_in
from kubetune_planner.catalogue import names, shape_of
from kubetune_planner.plan import AcceleratorSpec, Refusal, TrainingPlan, gib, plan
from kubetune_planner.shape import ModelShape
from kubetune_planner.states import precision_that_runs
from kubetune_planner.work import USED, Tokens, tokens_of, work_of

_CONFIG, _HUB = "config.json", "hf://"
_UNKNOWN = "–"


@dataclass(frozen=True)
class Asked:
    """What a comparison is told beside the job."""

    accelerator: str | None = None
    """A name of `ACCELERATORS`."""
    memory: str | None = None
    price: float | None = None
    """Of one accelerator for an hour."""
    tokens: int | None = None
    """Of one pass over the training data."""
    rows: int | None = None


@dataclass(frozen=True)
class Compared:
    """One model on one accelerator."""

    model: str
    accelerator: str
    shape: ModelShape
    parameters: int
    planned: TrainingPlan | Refusal
    workers: int
    tokens: Tokens | None
    hours: float | None
    """Of one accelerator, all of them together."""
    cost: float | None


def compare(file: Path, profile_file: Path | None, models: list[str], asked: Asked) -> list[Compared]:
    """The job of a manifest with each of the models, on the accelerator of each profile that is there, or on one with
    the memory that is asked for. CannotPlanError says what is missing."""
    if asked.accelerator is not None and asked.accelerator not in ACCELERATORS:
        raise CannotPlanError(
            f"--accelerator: the peak of {asked.accelerator} is not known; give one of {listed(ACCELERATORS, 'or')}"
        )
    job, profiles = job_and_profiles(file, profile_file)
    shapes = {model: _shape(model, job) for model in models}
    return [
        _compared(job.spec, model, shape, accelerator, asked)
        for accelerator in _accelerators(job, profiles, asked)
        for model, shape in shapes.items()
    ]


def print_comparison(found: list[Compared], asked: Asked, console: Console) -> None:
    """A line for each model on each accelerator, and how time and cost come about."""
    several = len({row.accelerator for row in found}) > 1
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("model", overflow="fold")
    if several:
        table.add_column("accelerator", overflow="fold")
    for title in ("parameters", "GiB", "ZeRO", "fits", "GPU-hours", "hours", "cost"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in found:
        table.add_row(row.model, *([row.accelerator] if several else []), *_cells(row))
    console.print(table)
    for line in _notes(found, asked):
        console.print(line, highlight=False, markup=False)


def _accelerators(job: FineTuneJob, profiles: tuple[FineTuneProfile, ...], asked: Asked) -> list[AcceleratorSpec]:
    described = [profile for profile in profiles if profile.spec.accelerator]
    if asked.memory is not None or len(described) < 2:
        return [accelerator_of(job, profiles, asked.memory)]
    each = [job.model_copy(update={"spec": _with_profile(job.spec, profile.metadata.name)}) for profile in described]
    return [accelerator_of(one, profiles, None) for one in each]


def _with_profile(spec: FineTuneJobSpec, name: str) -> FineTuneJobSpec:
    return spec.model_copy(update={"profile_ref": spec.profile_ref.model_copy(update={"name": name})})


def _compared(
    spec: FineTuneJobSpec, model: str, shape: ModelShape, accelerator: AcceleratorSpec, asked: Asked
) -> Compared:
    workers = spec.resources.workers or 1
    tokens = tokens_of(spec, shape, tokens=asked.tokens, rows=asked.rows)
    precision = precision_that_runs(spec.training.precision, has_bf16=accelerator.has_bf16)
    row = ACCELERATORS[asked.accelerator] if asked.accelerator else None
    hours = work_of(shape, spec).hours(tokens.number, row, precision) if tokens and row else None
    return Compared(
        model=model,
        accelerator=accelerator.name.removeprefix("the accelerator of profile "),
        shape=shape,
        parameters=shape.parameters,
        planned=plan(spec, shape, accelerator, workers),
        workers=workers,
        tokens=tokens,
        hours=hours,
        cost=None if hours is None or asked.price is None else hours * asked.price,
    )


def _shape(model: str, job: FineTuneJob) -> ModelShape:
    path, name = Path(model), model.removeprefix(_HUB)
    if path.exists():
        shape = shape_in(path / _CONFIG if path.is_dir() else path)
    elif (known := shape_of(f"{_HUB}{name}")) is None:
        meant = closest(name, names())
        raise CannotPlanError(
            f"--compare: kubetune does not know the shape of {model}"
            f"{f'; did you mean {meant}?' if meant else f'; give the path of its {_CONFIG}'}"
        )
    else:
        shape = known
    if TASKS[job.spec.task.type].model == "Decoder" and not shape.decoder:
        raise CannotPlanError(
            f"--compare: {job.spec.task.type} needs a decoder, and {model} is an encoder; leave it out"
        )
    return shape


def _cells(row: Compared) -> list[str]:
    fits = isinstance(row.planned, TrainingPlan)
    candidates = row.planned.candidates
    chosen = (
        next(each for each in candidates if each.stage == row.planned.stage)
        if isinstance(row.planned, TrainingPlan)
        else min(candidates, key=lambda each: each.memory.total)
    )
    hours = None if row.hours is None else row.hours / row.workers
    return [
        _millions(row.parameters),
        gib(chosen.memory.total).removesuffix(" GiB"),
        str(chosen.stage),
        "yes" if fits else "no",
        *(_UNKNOWN if value is None or not fits else f"{value:,.2f}" for value in (row.hours, hours, row.cost)),
    ]


def _millions(parameters: int) -> str:
    return f"{parameters / 1e9:,.2f}B" if parameters >= 1e9 else f"{parameters / 1e6:,.1f}M"


def _notes(found: list[Compared], asked: Asked) -> list[str]:
    several = len({row.accelerator for row in found}) > 1
    lines = [
        f"{row.model}{f' on {row.accelerator}' if several else ''}: {row.planned.proposal}"
        for row in found
        if isinstance(row.planned, Refusal)
    ]
    tokens = {row.tokens.said for row in found if row.tokens}
    if not tokens:
        lines.append("No time: give --tokens, those of one pass over the training data, or --rows.")
    if asked.accelerator is None:
        lines.append(f"No time: give --accelerator, one of {listed(ACCELERATORS, 'or')}.")
    if not tokens or asked.accelerator is None:
        return lines
    price = asked.price
    lines += _formula(tokens, asked.accelerator)
    lines.append(
        "No cost: give --price, that of one accelerator for an hour."
        if price is None
        else f"cost = GPU-hours · {price:g}, as --price says"
    )
    return lines


def _formula(tokens: set[str], accelerator: str) -> list[str]:
    row = ACCELERATORS[accelerator]
    peaks = [f"{peak:g} TFLOPS in {name}" for peak, name in ((row.bf16, "BF16"), (row.fp32, "FP32")) if peak]
    return [
        "GPU-hours = 2 · (forward + backward + learning) · tokens / (peak · used)",
        "of N parameters: 6·N where all learn, 4·N for adapters; N is without the vectors of",
        "the vocabulary, and of experts has those that a token passes through",
        f"tokens: {listed(sorted(tokens), 'or')}; no evaluations, loading and waiting",
        f"peak of {accelerator}: {listed(peaks)} by its datasheet; used: {USED:.0%}, an assumption",
    ]
