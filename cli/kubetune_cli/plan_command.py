"""The command `plan`: its options and exit codes.

What it needs is imported when it is called: a second of importing would be in the way of every other command.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from kubetune_cli.run import FAILED, INVALID

if TYPE_CHECKING:
    from kubetune_cli.compare import Asked

ManifestFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The manifest of a FineTuneJob; - reads standard input.")
]
_Profile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A file with the job's FineTuneProfile, if the manifest does not contain it."),
]
_Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="The memory of one accelerator instead of the profile's: a quantity such as 80Gi, or a number of GiB.",
    ),
]
_Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The model's config.json or GGUF file, if kubetune does not know its shape."),
]
_Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Overrides a field, as with run. Repeatable."),
]
_Nodes = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=512, help="Plans for so many nodes instead of resources.workers."),
]
_GpusPerNode = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=64, help="With --nodes: the accelerators of each, 8 if not said.")
]
_Yaml = Annotated[
    bool, typer.Option("--yaml", help="Prints the fields to set as YAML on standard output, nothing else.")
]
_Compare = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL",
        help="Compares models for the job: names on the hub, or paths of config.json, several with commas. Repeatable.",
    ),
]
_Accelerator = Annotated[
    str | None, typer.Option(metavar="NAME", help="With --compare: what is computed on, such as A100, for the time.")
]
_Price = Annotated[
    float | None,
    typer.Option(metavar="NUMBER", min=0, help="With --compare: the price of one accelerator for an hour."),
]
_Tokens = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="With --compare: the tokens of one pass over the training data."),
]
_Rows = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="With --compare: the rows of the training data, each as long as task.maxLength allows."
    ),
]


def plan(
    file: ManifestFile,
    profile: _Profile = None,
    memory: _Memory = None,
    config: _Config = None,
    nodes: _Nodes = None,
    gpus_per_node: _GpusPerNode = None,
    as_yaml: _Yaml = False,
    compare: _Compare = None,
    accelerator: _Accelerator = None,
    price: _Price = None,
    tokens: _Tokens = None,
    rows: _Rows = None,
    override: _Override = None,
) -> None:
    """Calculates the memory that each worker needs, and the ZeRO stage that fits it; with --compare, time and cost of
    other models too.

    Exit code 0: it fits, or one of the models does. 1: it does not fit; a proposal is printed. 2: the manifest is
    wrong, or something is missing.
    """
    from kubetune_cli.compare import Asked
    from kubetune_cli.plan import CannotPlanError

    try:
        if compare:
            _refuse_beside_compare(config=config, as_yaml=as_yaml, nodes=nodes, gpus_per_node=gpus_per_node)
            models = [name.strip() for names in compare for name in names.split(",") if name.strip()]
            asked = Asked(accelerator, memory, price, tokens, rows)
            fits = _compare(file, profile, models, asked, override or [])
        else:
            _refuse_without_compare(accelerator=accelerator, price=price, tokens=tokens, rows=rows)
            spread = _nodes(nodes, gpus_per_node)
            fits = _plan(file, profile, memory, config, override or [], spread, as_yaml=as_yaml)
    except CannotPlanError as error:
        Console(stderr=True, soft_wrap=True).print(Text(str(error)))
        raise typer.Exit(INVALID) from None
    if not fits:
        raise typer.Exit(FAILED)


def _nodes(nodes: int | None, gpus_per_node: int | None) -> tuple[int, int] | None:
    if nodes is None and gpus_per_node is not None:
        raise typer.BadParameter("it belongs to --nodes; give their number", param_hint="--gpus-per-node")
    return None if nodes is None else (nodes, gpus_per_node or 8)


def _plan(
    file: Path,
    profile: Path | None,
    memory: str | None,
    config: Path | None,
    overrides: list[str],
    nodes: tuple[int, int] | None,
    *,
    as_yaml: bool,
) -> bool:
    from kubetune_cli.plan import fields_to_set, plan_file, print_plan
    from kubetune_planner.plan import Refusal

    planned = plan_file(file, profile, accelerator_memory=memory, config=config, overrides=overrides, nodes=nodes)
    print_plan(planned, Console(stderr=as_yaml))
    if isinstance(planned, Refusal):
        return False
    if as_yaml:
        sys.stdout.write(fields_to_set(planned))
    return True


def _compare(file: Path, profile: Path | None, models: list[str], asked: "Asked", overrides: list[str]) -> bool:
    from kubetune_cli.compare import compare, print_comparison
    from kubetune_planner.plan import TrainingPlan

    found = compare(file, profile, models, asked, overrides)
    print_comparison(found, Console())
    return any(isinstance(row.planned, TrainingPlan) for row in found)


def _refuse_beside_compare(**options: object) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        name = f"--{given[0].removeprefix('as_').replace('_', '-')}"
        raise typer.BadParameter("it is of one model; leave it out, or --compare", param_hint=name)


def _refuse_without_compare(**options: object) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise typer.BadParameter("it belongs to --compare; name the models there", param_hint=f"--{given[0]}")
