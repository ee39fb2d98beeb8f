"""The `kubetune` command."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kubetune_api.job import FineTuneJob
from kubetune_api.uris import resolve_relative_uris
from kubetune_cli import validate as validation
from kubetune_cli.run import INVALID, invalid_manifest, run_job

app = typer.Typer(
    help="Fine-tunes language models from one manifest.", no_args_is_help=True, pretty_exceptions_enable=False
)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="The manifest of a FineTuneJob; - reads standard input.")],
    workers: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Workers to train on; overrides the manifest.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="Where the result goes; overrides spec.output.uri.")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Overrides a field, as spec.training.epochs=1. Repeatable."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Prints the status as one JSON object on standard output, nothing else.")
    ] = False,
) -> None:
    """Trains a manifest on this machine, with the code that a cluster runs.

    Exit code 0: succeeded. 1: the run failed or missed a requirement. 2: the manifest or its input is wrong.
    """
    # With --json standard output is for the object; people read on standard error.
    console = Console(stderr=as_json, soft_wrap=False)
    overrides = [*(override or [])]
    overrides += [f"spec.output.uri={output}"] if output is not None else []
    overrides += [f"spec.resources.workers={workers}"] if workers is not None else []
    job = _one_job(file, overrides, console)
    if isinstance(job, str):
        status, code = invalid_manifest(job), INVALID
    else:
        finished = run_job(job, console=console)
        status, code = finished.status, finished.exit_code
    if as_json:
        sys.stdout.write(status.model_dump_json(by_alias=True, exclude_none=True) + "\n")
    raise typer.Exit(code)


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(help="Manifests; - reads standard input.")],
) -> None:
    """Judges manifests, naming every fault with its line and remedy. Exit code 2 if there is one."""
    raise typer.Exit(validation.validate(files))


def _one_job(file: Path, overrides: list[str], console: Console) -> FineTuneJob | str:
    """The job of a manifest, or what is wrong with it, which is on standard error by then."""
    manifest = validation.load(file, overrides)
    errors = Console(stderr=True, soft_wrap=True)
    if manifest.faults:
        validation.print_faults(manifest.faults, errors)
        return "\n".join(str(fault) for fault in manifest.faults)
    if len(manifest.jobs) != 1:
        fault = (
            f"{validation.name_of(file)}: a run takes one FineTuneJob, and there are {len(manifest.jobs)};"
            " put each into a file of its own"
        )
        errors.print(fault, highlight=False, markup=False)
        return fault
    profile = manifest.jobs[0].spec.resources.profile
    if profile is not None and profile not in [known.metadata.name for known in manifest.profiles]:
        console.print(
            f"note: profile {profile} is not in this manifest, so it sets no limits here", highlight=False, markup=False
        )
    folder = Path.cwd() if file == validation.STANDARD_INPUT else file.resolve().parent
    return resolve_relative_uris(manifest.jobs[0], folder)


def main() -> None:
    """The entry point."""
    app()
