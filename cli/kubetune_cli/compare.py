"""`kubetune plan --compare`: the same job with one model and another, on one accelerator and another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kubetune_api.accelerators import ACCELERATORS
from kubetune_api.families import FAMILIES, Family
from kubetune_api.family import IN_WORDS
from kubetune_api.job import FineTuneJob, FineTuneJobSpec
from kubetune_api.pods import Accelerator
from kubetune_api.profile import FineTuneProfile, profile_name
from kubetune_api.sentences import closest
from kubetune_api.tables import listed
from kubetune_api.tasks import TASKS
from kubetune_cli.plan import CannotPlanError, accelerator_of, described_in, job_and_profiles, shape_in
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
    """A name of `ACCELERATORS`, instead of the profile's."""
    memory: str | None = None
    price: float | None = None
    """Of one accelerator for an hour, instead of the profile's."""
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
    peak: str | None
    """The name of the accelerator in `ACCELERATORS`, where it is known."""
    price: float | None
    """Of one accelerator for an hour."""
    hours: float | None
    """Of one accelerator, all of them together."""
    cost: float | None


def compare(
    file: Path, profile_file: Path | None, models: list[str], asked: Asked, overrides: Sequence[str] = ()
) -> list[Compared]:
    """The job of a manifest with each of the models, on the accelerator of each profile that is there, or on one with
    the memory that is asked for. CannotPlanError says what is missing."""
    if asked.accelerator is not None and asked.accelerator not in ACCELERATORS:
        raise CannotPlanError(
            f"--accelerator: the peak of {asked.accelerator} is not known; give one of {listed(ACCELERATORS, 'or')}"
        )
    job, profiles = job_and_profiles(file, profile_file, overrides)
    shapes = {model: _shape(model, job) for model in models}
    return [
        _compared(job.spec, model, shape, place, asked)
        for place in _places(job, profiles, asked)
        for model, shape in shapes.items()
    ]


def print_comparison(found: list[Compared], console: Console) -> None:
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
    for line in _notes(found):
        console.print(line, highlight=False, markup=False)


@dataclass(frozen=True)
class _Place:
    """What is computed on, what it is, and what it costs."""

    accelerator: AcceleratorSpec
    peak: str | None
    price: float | None


def _places(job: FineTuneJob, profiles: tuple[FineTuneProfile, ...], asked: Asked) -> list[_Place]:
    described = {profile.metadata.name: profile.spec.accelerator for profile in profiles if profile.spec.accelerator}
    own = profile_name(job)
    chosen = [own] if asked.memory is not None or len(described) < 2 else list(described)
    return [_place(_with_profile(job, name), profiles, described.get(name), asked) for name in chosen]


def _place(
    job: FineTuneJob, profiles: tuple[FineTuneProfile, ...], described: Accelerator | None, asked: Asked
) -> _Place:
    return _Place(
        accelerator_of(job, profiles, asked.memory),
        asked.accelerator or (described.model if described else None),
        asked.price if asked.price is not None or described is None else described.price_per_hour,
    )


def _with_profile(job: FineTuneJob, name: str) -> FineTuneJob:
    if name == profile_name(job):
        return job
    reference = job.spec.profile_ref.model_copy(update={"name": name})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"profile_ref": reference})})


def _compared(spec: FineTuneJobSpec, model: str, shape: ModelShape, place: _Place, asked: Asked) -> Compared:
    workers = spec.resources.workers or 1
    tokens = tokens_of(spec, shape, tokens=asked.tokens, rows=asked.rows)
    precision = precision_that_runs(spec.training.precision, has_bf16=place.accelerator.has_bf16)
    row = ACCELERATORS[place.peak] if place.peak else None
    hours = work_of(shape, spec).hours(tokens.number, row, precision) if tokens and row else None
    return Compared(
        model=model,
        accelerator=place.accelerator.name.removeprefix("the accelerator of profile "),
        shape=shape,
        parameters=shape.parameters,
        planned=plan(spec, shape, place.accelerator, workers),
        workers=workers,
        tokens=tokens,
        peak=place.peak,
        price=place.price,
        hours=hours,
        cost=None if hours is None or place.price is None else hours * place.price,
    )


def _shape(model: str, job: FineTuneJob) -> ModelShape:
    path, name = Path(model), model.removeprefix(_HUB)
    if path.exists():
        shape = shape_in(described_in(path) if path.is_dir() else path)
    elif (known := shape_of(f"{_HUB}{name}")) is None:
        meant = closest(name, names())
        raise CannotPlanError(
            f"--compare: kubetune does not know the shape of {model}"
            f"{f'; did you mean {meant}?' if meant else f'; give the path of its {_CONFIG}'}"
        )
    else:
        shape = known
    _refuse_unsuited(model, FAMILIES[shape.family], job.spec.task.type)
    return shape


def _refuse_unsuited(model: str, family: Family, task: str) -> None:
    """Says of a model what a run would say of it."""
    row = TASKS[task]
    if not family.suits(row.model):
        raise CannotPlanError(
            f"--compare: {task} needs {IN_WORDS[row.model]}, and {model} is {IN_WORDS[family.kind]}; leave it out"
        )
    if row.per_token and not family.tagger:
        raise CannotPlanError(
            f"--compare: {task} needs an output for each token, which {model} has not in transformers; leave it out"
        )


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
        *(_UNKNOWN if value is None or not fits else _hundredths(value) for value in (row.hours, hours, row.cost)),
    ]


def _hundredths(value: float) -> str:
    """What is too small for them has one digit: a job of a minute takes more than 0 hours."""
    return f"{value:,.2f}" if value >= 0.01 else f"{value:.1g}"


def _millions(parameters: int) -> str:
    return f"{parameters / 1e9:,.2f}B" if parameters >= 1e9 else f"{parameters / 1e6:,.1f}M"


def _notes(found: list[Compared]) -> list[str]:
    several = len({row.accelerator for row in found}) > 1
    lines = [
        f"{row.model}{f' on {row.accelerator}' if several else ''}: {row.planned.proposal}"
        for row in found
        if isinstance(row.planned, Refusal)
    ]
    tokens = {row.tokens.said for row in found if row.tokens}
    peaks = {row.peak for row in found if row.peak}
    if not tokens:
        lines.append("No time: give --tokens, those of one pass over the training data, or --rows.")
    if any(row.peak is None for row in found):
        where = "--accelerator, or accelerator.model of the profile,"
        lines.append(f"No time: give {where} one of {listed(ACCELERATORS, 'or')}.")
    if tokens and peaks:
        lines += [*_formula(tokens), *map(_peak, sorted(peaks)), *_prices(found)]
    return lines


def _formula(tokens: set[str]) -> list[str]:
    return [
        "GPU-hours = 2 · (forward + backward + learning) · tokens / (peak · used)",
        "of N parameters: 6·N where all learn, 4·N for adapters; N is without the vectors",
        "of the vocabulary, and of experts has those that a token passes through",
        f"tokens: {listed(sorted(tokens), 'or')}; no evaluations, loading and waiting",
        f"used: {USED:.0%}, an assumption",
    ]


def _peak(accelerator: str) -> str:
    row = ACCELERATORS[accelerator]
    half = "BF16 or FP16" if row.has_bf16 else "FP16"
    return f"peak of {accelerator}: {row.half:g} TFLOPS in {half} and {row.fp32:g} TFLOPS in FP32 by its datasheet"


def _prices(found: list[Compared]) -> list[str]:
    prices = {row.accelerator: row.price for row in found}
    said = [f"cost on {name} = GPU-hours · {price:g}" for name, price in prices.items() if price is not None]
    if None in prices.values():
        said.append("No cost: give --price, or accelerator.pricePerHour of the profile: one accelerator's for an hour.")
    return said
