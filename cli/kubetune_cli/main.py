"""The `kubetune` command."""

import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kubetune_api.job import FineTuneJob
from kubetune_api.manifest import Manifest
from kubetune_api.run import RUN_ID
from kubetune_api.uris import resolve_relative_uris
from kubetune_cli import validate as validation
from kubetune_cli.cluster_commands import logs, report, status
from kubetune_cli.plain_help import PlainCommand, PlainGroup
from kubetune_cli.plan_command import ManifestFile, plan
from kubetune_cli.run import INVALID, invalid_manifest, run_job
from kubetune_cli.trainer_process import why_not_installed
from kubetune_cli.verify_command import verify

app = typer.Typer(cls=PlainGroup, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(*, asked: bool) -> None:
    if asked:
        sys.stdout.write(f"kubetune {version('kubetune')}\n")
        raise typer.Exit


def _known_id(run_id: str | None) -> str | None:
    if run_id is not None and not re.fullmatch(RUN_ID, run_id):
        raise typer.BadParameter(f"{run_id!r} is no id of a run; `kubetune run` prints it in its first line")
    return run_id


_EarlierRun = Annotated[
    str | None,
    typer.Option(
        metavar="RUN",
        callback=_known_id,
        help="Goes on with an earlier run of this manifest, from its last checkpoint.",
    ),
]
_SigningKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Signs the model with this private key: ECDSA on P-256, P-384 or P-521, in PEM."),
]


@app.callback()
def kubetune(
    *,
    asked_for_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Prints the version.")
    ] = False,
) -> None:
    """Fine-tunes language models from one manifest.

    run, validate, plan and verify need no cluster; status, logs and report read from one.
    """


@app.command(cls=PlainCommand)
def run(
    file: ManifestFile,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=4096, help="Workers to train on; overrides the manifest.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="URI", help="Where the result goes; overrides spec.output.uri.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PATH=VALUE", help="Overrides a field, such as spec.training.epochs=1. Repeatable."
        ),
    ] = None,
    resume: _EarlierRun = None,
    signing_key: _SigningKey = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Prints the status as one JSON object on standard output, nothing else.")
    ] = False,
) -> None:
    """Trains a manifest on this machine, with the code that a cluster runs.

    Exit code 0: succeeded. 1: the run failed or missed a requirement. 2: the manifest or its input is wrong.
    """
    # With --json standard output is for the object; people read on standard error.
    console = Console(stderr=as_json, soft_wrap=False)
    fields = {"spec.output.uri": output, "spec.resources.workers": workers}
    overrides = [*(override or []), *(f"{path}={value}" for path, value in fields.items() if value is not None)]
    job = _one_job(file, overrides, console)
    if isinstance(job, str):
        status, code = invalid_manifest(job), INVALID
    elif lack := why_not_installed():
        Console(stderr=True, soft_wrap=True).print(lack, highlight=False, markup=False)
        raise typer.Exit(INVALID)
    else:
        finished = run_job(job, console=console, resume=resume, signing_key=signing_key)
        status, code = finished.status, finished.exit_code
    if as_json:
        sys.stdout.write(status.model_dump_json(by_alias=True, exclude_none=True) + "\n")
    raise typer.Exit(code)


@app.command(cls=PlainCommand)
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Manifests; - reads standard input.")],
) -> None:
    """Validates manifests, and reports every error with its line and remedy.

    Exit code 0: there is no error. 2: there is at least one.
    """
    raise typer.Exit(validation.validate(files))


for command in (plan, verify, status, logs, report):
    app.command(cls=PlainCommand)(command)


def _one_job(file: Path, overrides: list[str], console: Console) -> FineTuneJob | str:
    """The job of a manifest, or what is wrong with it, which is on standard error by then."""
    manifest = validation.load(file, overrides)
    errors = Console(stderr=True, soft_wrap=True)
    if manifest.errors:
        validation.print_errors(manifest.errors, errors)
        return "\n".join(str(error) for error in manifest.errors)
    if error := _why_not_one(manifest, validation.name_of(file)):
        errors.print(error, highlight=False, markup=False)
        return error
    profile = manifest.jobs[0].spec.profile_ref.name
    if profile is not None and profile not in [known.metadata.name for known in manifest.profiles]:
        console.print(
            f"note: profile {profile} is not in this manifest, so it sets no limits here", highlight=False, markup=False
        )
    folder = Path.cwd() if file == validation.STANDARD_INPUT else file.resolve().parent
    return resolve_relative_uris(manifest.jobs[0], folder)


def _why_not_one(manifest: Manifest, file: str) -> str | None:
    """Why a manifest without errors cannot be run; None if it can."""
    if len(manifest.jobs) != 1:
        return (
            f"{file}: a run takes one FineTuneJob, and there are {len(manifest.jobs)}; put each into a file of its own"
        )
    if manifest.jobs[0].metadata.name in manifest.generated_names:
        return (
            f"{file}: metadata.generateName: only an API server can complete it; give the job a name, such as"
            " --set metadata.name=reviews-1"
        )
    return None


def main() -> None:
    """The entry point; as kubectl's plugin it is `kubectl-finetune`."""
    app(prog_name=called_by(sys.argv[0]))


def called_by(program: str) -> str:
    """What a person typed to call us: `kubetune`, or `kubectl finetune` for its plugin."""
    plugin, _, name = Path(program).name.removesuffix(".exe").partition("-")
    return f"kubectl {name}" if plugin == "kubectl" and name else "kubetune"
