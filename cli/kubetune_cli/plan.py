"""`kubetune plan`: the memory that a job needs and how it would be spread, worked out without a cluster."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from kubetune_api.job import FineTuneJob
from kubetune_api.manifest import Manifest
from kubetune_api.profile import FineTuneProfile, profile_name
from kubetune_api.quantity import amount, is_quantity
from kubetune_api.uris import file_path, resolve_relative_uris
from kubetune_cli.gguf_header import config_of
from kubetune_cli.validate import STANDARD_INPUT, load, name_of
from kubetune_planner.catalogue import shape_of
from kubetune_planner.encoder_decoder import shape_from_config
from kubetune_planner.host import HostNeed, too_small
from kubetune_planner.plan import AcceleratorSpec, Refusal, TrainingPlan, gib, plan
from kubetune_planner.shape import ModelShape

_CONFIG, _GGUF = "config.json", ".gguf"
_LARGEST_CONFIG = 1 << 20
"""Bytes; real ones have a few thousand."""
_LEAST_MEMORY = 1 << 20
"""Bytes; no accelerator has less, and who gives less has mistaken the unit."""
_PARTS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "buffers": "buffers",
    "overhead": "context",
}
"""The parts of a need, and the titles of their columns: the table is as wide as a terminal of 80 characters."""


class CannotPlanError(Exception):
    """Something that a plan needs is missing or wrong; the message is a sentence with the remedy."""


def plan_file(
    file: Path,
    profile_file: Path | None,
    *,
    accelerator_memory: str | None,
    config: Path | None,
    overrides: Sequence[str] = (),
    nodes: tuple[int, int] | None = None,
) -> TrainingPlan | Refusal:
    """Plans the one job of a manifest. CannotPlanError says what is missing.

    `nodes` are how many there are and the accelerators of each, in the place of `resources.workers`.
    The accelerator is the profile's, from `profile_file` or the manifest itself, or one of `accelerator_memory`: a
    quantity, or a number of GiB.
    The model's shape comes from `config`, a config.json; without it from the catalogue or the model's folder or GGUF
    file.
    """
    job, profiles = job_and_profiles(file, profile_file, overrides)
    accelerator, shape = accelerator_of(job, profiles, accelerator_memory), _shape(job, config)
    # With its defaults, as the operator plans it.
    spec, profile = job.resolved.spec, _profile_of(job, profiles)
    if nodes is not None:
        count, gpus = nodes
        found = plan(spec, shape, accelerator, count * gpus, gpus, gpus)
    else:
        of_pod = profile.spec.workers_per_pod if profile else 1
        found = plan(spec, shape, accelerator, spec.resources.workers or 1, workers_per_pod=of_pod)
    lacks = too_small(found.host, profile) if profile and isinstance(found, TrainingPlan) else None
    return Refusal(found.sentence, lacks, found.candidates) if lacks else found


def job_and_profiles(
    file: Path, profile_file: Path | None, overrides: Sequence[str]
) -> tuple[FineTuneJob, tuple[FineTuneProfile, ...]]:
    """The one job of a manifest, with the fields of `--set`, and the profiles that are there."""
    manifest, profiles = _read(file, overrides), _read(profile_file).profiles if profile_file else ()
    if len(manifest.jobs) != 1:
        raise CannotPlanError(
            f"{name_of(file)}: a plan is for one FineTuneJob, and there are {len(manifest.jobs)}; put each into a file"
            " of its own"
        )
    folder = Path.cwd() if file == STANDARD_INPUT else file.resolve().parent
    return resolve_relative_uris(manifest.jobs[0], folder), (*profiles, *manifest.profiles)


def fields_to_set(planned: TrainingPlan) -> str:
    """The plan as the part of a manifest that says it, in YAML."""
    fields = {
        "training": {
            "microBatchSize": planned.micro_batch_size,
            "activationCheckpointing": planned.activation_checkpointing,
        },
        "zero": {"stage": planned.stage},
    }
    return yaml.safe_dump({"spec": fields})


def print_plan(planned: TrainingPlan | Refusal, console: Console) -> None:
    """A line for every stage that was considered, and the verdict in a sentence."""
    chosen = planned.stage if isinstance(planned, TrainingPlan) else None
    table = Table(title="GiB on each worker", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("ZeRO", no_wrap=True)
    for title in ("batch", *_PARTS.values(), "total"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("fits", no_wrap=True)
    for row in planned.candidates:
        sizes = [*(getattr(row.memory, part) for part in _PARTS), row.memory.total]
        verdict = "chosen" if row.stage == chosen else "yes" if row.fits else "no"
        table.add_row(
            str(row.stage),
            str(row.micro_batch_size),
            *(gib(size).removesuffix(" GiB") for size in sizes),
            verdict,
            style="bold" if row.stage == chosen else None,
        )
    console.print(table)
    console.print(planned.sentence, highlight=False, markup=False)
    said = (planned.proposal,) if isinstance(planned, Refusal) else (*planned.reasons, _beside(planned.host))
    for sentence in said:
        console.print(sentence, highlight=False, markup=False)


def _beside(host: HostNeed) -> str:
    pod = "a pod" if host.workers == 1 else f"a pod of {host.workers} workers"
    return f"Each worker also needs {gib(host.memory)} of main memory, and {pod} {gib(host.disk)} of disk."


def _read(file: Path, overrides: Sequence[str] = ()) -> Manifest:
    manifest = load(file, overrides)
    if manifest.errors:
        raise CannotPlanError("\n".join(str(error) for error in manifest.errors))
    return manifest


def accelerator_of(job: FineTuneJob, profiles: tuple[FineTuneProfile, ...], memory: str | None) -> AcceleratorSpec:
    """What each worker computes on: the accelerator of the job's profile, or one with that memory."""
    name, profile = profile_name(job), _profile_of(job, profiles)
    described = profile.spec.accelerator if profile else None
    if memory is not None:
        return AcceleratorSpec("the accelerator", _bytes(memory), has_bf16=described.bf16 if described else True)
    if described is None:
        raise CannotPlanError(
            f"{_why_no_accelerator(job, profiles)}, so the memory to plan for is not known; give the memory of one"
            " accelerator, as --memory 80Gi, or by --profile the file of a profile with spec.accelerator.memory"
        )
    return AcceleratorSpec(f"the accelerator of profile {name}", int(amount(described.memory)), has_bf16=described.bf16)


def _profile_of(job: FineTuneJob, profiles: tuple[FineTuneProfile, ...]) -> FineTuneProfile | None:
    return next((profile for profile in profiles if profile.metadata.name == profile_name(job)), None)


def _why_no_accelerator(job: FineTuneJob, profiles: tuple[FineTuneProfile, ...]) -> str:
    name, known = profile_name(job), [profile.metadata.name for profile in profiles]
    if name in known:
        return f"spec.profileRef.name: profile {name} has no accelerator"
    others = f" (only {', '.join(known)})" if known else ""
    if job.spec.profile_ref.name is None:
        return f"spec.profileRef.name: the job names no profile, and there is none named {name} here{others}"
    return f"spec.profileRef.name: there is no FineTuneProfile named {name} here{others}"


def _bytes(memory: str) -> int:
    """The bytes of a quantity, or of a number of GiB."""
    if is_quantity(memory):
        size = int(amount(f"{memory}Gi" if memory[-1].isdigit() else memory))
        if size >= _LEAST_MEMORY:
            return size
    raise CannotPlanError(
        f"--memory: {memory} is not the memory of an accelerator; give a quantity such as 80Gi, or a number of"
        " GiB such as 80"
    )


def _shape(job: FineTuneJob, config: Path | None) -> ModelShape:
    uri = job.spec.model.uri
    if config is None and (known := shape_of(uri)):
        return known
    if config is None and (place := file_path(uri)):
        config = described_in(place)
    if config is None and uri.endswith(_GGUF):
        raise CannotPlanError(
            f"spec.model.uri: {uri} is not on this machine, and a plan downloads nothing; give with --config the file,"
            f" or the {_CONFIG} of the model that it was made from"
        )
    if config is None:
        raise CannotPlanError(
            f"spec.model.uri: kubetune does not know the shape of {uri}; give the model's {_CONFIG} with --config"
        )
    return shape_in(config)


def described_in(place: Path) -> Path:
    """The file that says the sizes of a model, which is a folder or a GGUF file."""
    if place.suffix == _GGUF:
        return place
    files = list(place.glob(f"*{_GGUF}"))
    return files[0] if len(files) == 1 and not (place / _CONFIG).exists() else place / _CONFIG


def shape_in(config: Path) -> ModelShape:
    """The shape that a config.json or a GGUF file describes."""
    try:
        return shape_from_config(config_of(config) if config.suffix == _GGUF else _json_of(config))
    except OSError as error:
        raise CannotPlanError(
            f"{config}: the file cannot be read: {error.strerror or error}; give the model's {_CONFIG} with --config"
        ) from error
    except ValueError as error:
        raise CannotPlanError(f"{config}: {error}") from error


def _json_of(config: Path) -> dict[str, Any]:
    with config.open("rb") as stream:
        text = stream.read(_LARGEST_CONFIG + 1)
    if len(text) > _LARGEST_CONFIG:
        raise ValueError(f"the file has more than {_LARGEST_CONFIG} bytes, too many for a {_CONFIG}")
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the file is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("the file holds no JSON object")  # noqa: TRY004
    return value
