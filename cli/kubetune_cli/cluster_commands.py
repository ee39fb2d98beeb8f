"""The commands that ask a cluster: `status`, `logs` and `report`; their options and exit codes.

What they need is imported when they are called: a second of importing would be in the way of every other command.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from kubetune_cli.jobs import ClusterError, NothingToShowError
from kubetune_cli.text import printable

JobName = Annotated[str, typer.Argument(help="The FineTuneJob.", metavar="NAME")]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", help="The namespace. Default: that of the context, or default."),
]
Context = Annotated[
    str | None, typer.Option(metavar="NAME", help="The context of the kubeconfig. Default: the current one.")
]
_PAUSE_SECONDS = 1.0


def status(
    name: Annotated[str | None, typer.Argument(help="A job. Default: a table of all jobs.", metavar="NAME")] = None,
    namespace: Namespace = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="The jobs of all namespaces.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follows the job until it ends.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Prints the status as JSON on standard output, nothing else.")
    ] = False,
    context: Context = None,
) -> None:
    """Shows the jobs of a cluster, or all that is known of one.

    Exit code 0: shown; with --watch: the job succeeded. 1: with --watch, it failed. 2: the cluster cannot be reached,
    or there is no such job.
    """
    if name is None and watch:
        raise typer.BadParameter("it follows one job; name it", param_hint="--watch")
    if name is not None and everywhere:
        raise typer.BadParameter("a job is in one namespace; give it with -n", param_hint="--all-namespaces")
    from kubetune_cli import status as view

    console = view.console_for(stderr=as_json)
    with _told_errors():
        from kubetune_cli.api_server import connect

        cluster = connect(context, namespace)
        if name is None:
            view.show_all(cluster, console, everywhere=everywhere, as_json=as_json)
        elif watch:
            raise typer.Exit(view.follow(cluster, name, console, _pause, as_json=as_json))
        else:
            view.show_one(cluster, name, console, as_json=as_json)


def logs(
    name: JobName,
    namespace: Namespace = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follows the log, over later attempts too, until the job ends.")
    ] = False,
    attempt: Annotated[int | None, typer.Option(metavar="N", min=1, help="The attempt. Default: the last.")] = None,
    worker: Annotated[
        int | None, typer.Option(metavar="I", min=0, help="The log of a worker's pod instead; the first is 0.")
    ] = None,
    head: Annotated[bool, typer.Option("--head", help="The log of the head's pod instead.")] = False,
    submitter: Annotated[bool, typer.Option("--submitter", help="The log of the submitter's pod only.")] = False,
    tail: Annotated[int | None, typer.Option(metavar="N", min=0, help="Only the last N lines.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="The lines of Ray and other libraries, too.")
    ] = False,
    context: Context = None,
) -> None:
    """Shows what a job's driver tells, as kubetune run prints it, or the log of one of its pods.

    The driver leads the training from the head's pod, and the submitter's pod passes its lines on: that log is shown,
    or the head's, as it is, if there is no submitter.

    Exit code 0: shown. 1: there is no such log (any more). 2: the cluster cannot be reached, or there is no such job.
    """
    from kubetune_cli.logs import HEAD, SUBMITTER, WORKER, Reader, Wanted

    roles = [*[WORKER] * (worker is not None), *[HEAD] * head, *[SUBMITTER] * submitter]
    if len(roles) > 1:
        raise typer.BadParameter("choose one of --worker, --head and --submitter")
    role = roles[0] if roles else SUBMITTER
    wanted = Wanted(role, not roles, worker=worker or 0, attempt=attempt, tail=tail, verbose=verbose)
    with _told_errors():
        from kubetune_cli.api_server import connect

        reader = Reader(connect(context, namespace), wanted, _write_line, _tell, _pause)
        (reader.follow if follow else reader.show)(name)


def report(
    name: JobName,
    namespace: Namespace = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write. Default: NAME-report.html in the current folder."
        ),
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Opens it in a browser.")] = False,
    context: Context = None,
) -> None:
    """Fetches the report of a job in a cluster from object storage, and prints its path.

    That of a local run is the file that the run's last lines name. The store is asked from here, with the credentials
    of the environment.

    Exit code 0: fetched. 1: there is none, or the store refuses it. 2: the cluster cannot be reached, or there is no
    such job.
    """
    from kubetune_cli import report as reports

    with _told_errors():
        from kubetune_cli.api_server import connect

        file = reports.fetch(connect(context, namespace), name, output)
        _write_line(str(file))
        if opened:
            reports.open_in_browser(file, _tell)


@contextmanager
def _told_errors() -> Iterator[None]:
    """Turns what a command cannot do into a sentence and an exit code."""
    try:
        yield
    except (ClusterError, NothingToShowError) as error:
        _tell(str(error))
        raise typer.Exit(1 if isinstance(error, NothingToShowError) else 2) from None


def _tell(sentence: str) -> None:
    """Says something beside what was asked for."""
    Console(stderr=True, soft_wrap=True).print(Text(printable(sentence)))


def _write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _pause() -> None:
    time.sleep(_PAUSE_SECONDS)
