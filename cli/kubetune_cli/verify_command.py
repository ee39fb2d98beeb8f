"""`kubetune verify`: whether a published model is what its run published, asked from anywhere.

The trainer reads the store, in a process of its own; neither torch nor Ray is started for it.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import IO, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

from kubetune_api.schemes import scheme_of
from kubetune_api.text import magnitude, plural, size
from kubetune_api.uris import absolute
from kubetune_cli.text import printable

VERIFIED, NOT_VERIFIED, UNKNOWN = 0, 1, 2
"""The exit codes."""
_NOT_COMPARED = "there, and compared with nothing; --public-key compares it"
_QUIET_SECONDS = 10.0

_Place = Annotated[
    str,
    typer.Argument(metavar="URI", help="The URI of a published model, of its run's folder or of its manifest.json."),
]
_Digest = Annotated[
    str | None,
    typer.Option(
        metavar="sha256:…", help="What the manifest must have: artifact.digest of the job's status, or of run --json."
    ),
]
_PublicKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A public key, in PEM: the model must be signed with the private one."),
]
_Against = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="Another run, such as one of the same job: says whether the models are equal, or what differs.",
    ),
]
_AsJson = Annotated[
    bool, typer.Option("--json", help="Prints what was found as one JSON object on standard output, nothing else.")
]


def verify(
    uri: _Place,
    digest: _Digest = None,
    public_key: _PublicKey = None,
    against: _Against = None,
    as_json: _AsJson = False,
) -> None:
    """Checks that a published model is whole, and byte for byte what its run published.

    Every file that the manifest names is fetched once and compared; none is kept. The store is asked from here, with
    the credentials of the environment.

    Exit code 0: it is. 1: it is not, the model missed a requirement, or --against is another one. 2: that cannot be
    told: no run was published there, or the store cannot be read.
    """
    options = {"digest": digest, "public-key": public_key, "against": _in_full(against) if against else None}
    with TemporaryFile("w+", errors="replace") as errors:
        with _trainer(uri, options, errors) as process:
            assert process.stdout is not None, "it was asked for"
            found = _last(process.stdout, Console(stderr=True, soft_wrap=True))
        errors.seek(0)
        why = errors.read().strip()
    if found is None:
        _tell(why or "The trainer ended without a message.")
        raise typer.Exit(UNKNOWN)
    result = Found(found)
    if as_json:
        sys.stdout.write(json.dumps({"verified": result.is_verified, **found}) + "\n")
    else:
        result.show(Console(soft_wrap=True), digest)
    raise typer.Exit(VERIFIED if result.is_verified and not result.different else NOT_VERIFIED)


@dataclass(frozen=True)
class Found:
    """What the trainer found."""

    artifact: dict[str, Any]

    @property
    def is_verified(self) -> bool:
        """Whether the model may be used."""
        return not self.artifact["errors"] and not self._rejected()

    @property
    def different(self) -> Sequence[str]:
        """The files that another run, with which it was compared, does not have."""
        return self.artifact["against"]["different"] if "against" in self.artifact else ()

    def show(self, console: Console, digest: str | None) -> None:
        """For people: the verdict, what the model is, and each error."""
        word, style = ("verified", "green") if self.is_verified else ("NOT verified", "bold red")
        console.print(Text.assemble((word, style), f"  {printable(self.artifact['uri'])}"))
        for name, value in self._facts(digest):
            console.print(Text(f"  {name:9} {printable(value)}"))
        errors = [*self.artifact["errors"], *(f"rejected: {missed}" for missed in self._rejected())]
        errors += [f"against: {difference}" for difference in self.different]
        for error in errors:
            _tell(f"  - {error}")

    def _facts(self, digest: str | None) -> Iterator[tuple[str, str]]:
        found = self.artifact
        yield "manifest", found["manifestUri"]
        yield "digest", found["digest"]
        yield "files", f"{plural(found['files'], 'file')}, {size(found['sizeBytes'])}"
        kind = "an adapter" if found["adapter"] else "a model"
        numbers = ", ".join(f"{magnitude(count)} {name}" for name, count in found["types"].items())
        yield "weights", f"{kind} of {magnitude(sum(found['types'].values()))} parameters: {numbers or 'none'}"
        if found["signed"]:
            yield "signature", self._signature() if found["key"] else _NOT_COMPARED
        if digest is None:
            beside = "; the key vouches for the model's files alone" if found["key"] else ""
            yield "note", f"whoever may write there may have changed the manifest too{beside}; --digest compares it"

        if "against" in found:
            yield from self._comparison(found["against"])

    def _signature(self) -> str:
        signed_for = self.artifact["signedFor"]
        whose = f": a model of the job {signed_for}" if signed_for else ""
        return f"compared with the key {self.artifact['key']}{whose}"

    def _comparison(self, other: dict[str, Any]) -> Iterator[tuple[str, str]]:
        equal, inputs = plural(len(other["equal"]), "file"), other["inputs"]
        verdict = f"another model, {equal} equal" if self.different else f"the same model, {equal} equal"
        yield "against", f"{other['uri']}: {verdict}"
        yield from (("", found) for found in inputs)
        if self.different and not inputs:
            yield "", "nothing that was recorded differs: see docs/training.md#seeds-and-what-repeats"

    def _rejected(self) -> Sequence[str]:
        """Why the model is rejected: what it missed counts, whatever the manifest calls it."""
        return self.artifact["missed"] or (("the manifest says so",) if self.artifact["rejected"] else ())


def _trainer(uri: str, given: Mapping[str, str | Path | None], errors: IO[str]) -> "subprocess.Popen[str]":
    """The process; `errors` is a file, because a full pipe that nobody reads yet would stop it."""
    # `--` and `=`: what others wrote must not be read as options.
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return subprocess.Popen(
        [sys.executable, "-m", "kubetune_trainer.examine", *options, "--", _in_full(uri)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        errors="replace",
    )


def _in_full(uri: str) -> str:
    """A path of this machine as a URI, as well as a relative one."""
    return absolute(uri, Path.cwd()) if scheme_of(uri) else Path(uri).absolute().as_uri()


def _last(lines: Iterator[str], console: Console) -> dict[str, Any] | None:
    """What the last event holds; the others are shown on the way."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task, due = bar.add_task("Verifying"), monotonic() + _QUIET_SECONDS
        for line in lines:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "examined":
                found: dict[str, Any] = event["artifact"]
                return found
            bar.update(task, completed=event["done"], total=event["total"])
            if not console.is_terminal and monotonic() >= due:
                due = monotonic() + _QUIET_SECONDS
                _tell(f"  {size(event['done'])} of {size(event['total'])}: {event['file']}")
    return None


def _tell(sentence: str) -> None:
    Console(stderr=True, soft_wrap=True).print(Text(printable(sentence)))
