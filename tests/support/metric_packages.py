"""Packages that offer metrics, as pip would have installed them."""

from collections.abc import Mapping
from pathlib import Path

FUNCTIONS = '''
"""The example of docs/extending.md, and functions that go wrong."""


def cost(predictions, targets):
    """What wrong answers cost on average: a missed one more than a false alarm."""
    prices = {("no", "yes"): 5.0, ("yes", "no"): 1.0}
    return sum(prices.get((said["label"], true), 0.0) for said, true in zip(predictions, targets)) / len(targets)


def rows(predictions, targets):
    return len(targets)


def share_right(predictions, targets):
    return sum(said == true for said, true in zip(predictions, targets)) / len(targets)


def raises(predictions, targets):
    raise KeyError("price list")


def nothing(predictions, targets):
    return float("nan")


def words(predictions, targets):
    return "high"


def raises_on_many(predictions, targets):
    if len(targets) > 5:
        raise ValueError("too many rows")
    return 1.0


not_a_function = 3
'''


def install(folder: Path, name: str, metrics: Mapping[str, str], functions: str = FUNCTIONS) -> None:
    """A package of that name in a folder that is on Python's path, with entry points: `{"cost": "cost"}`."""
    module = f"{name}_metrics"
    (folder / f"{module}.py").write_text(functions)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{metric} = {module}:{function}" for metric, function in metrics.items()]
    (about / "entry_points.txt").write_text("\n".join(["[kubetune.metrics]", *lines, ""]))
