"""The tables of docs/models.md: what the matrix ran.

make matrix
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from kubetune_api.families import FAMILIES
from kubetune_api.methods import METHODS
from kubetune_api.tasks import TASKS
from support.matrix import QUANTIZED, RAN, STAGES, WAYS, Entry, entries, outcomes
from support.ranks import run_ranks

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- /matrix -->\n"


def tables(found: Mapping[Entry, str]) -> str:
    """Both tables, of the runs that succeeded, in Markdown."""
    ran = [entry for entry, outcome in found.items() if outcome == RAN]
    return "\n".join([*_by_family(ran), "", *_by_stage(ran), ""])


def _by_family(ran: list[Entry]) -> Iterator[str]:
    yield _line("family", *(f"`{task}`" for task in TASKS))
    yield _line(*["---"] * (len(TASKS) + 1))
    for family in sorted(FAMILIES):
        yield _line(
            f"`{family}`",
            *(_cell([entry for entry in ran if (entry.family, entry.task) == (family, task)]) for task in TASKS),
        )


def _cell(ran: list[Entry]) -> str:
    """The methods and stages at which one family was trained for one task."""
    plain = [f"{entry.method} {entry.stage}" for entry in ran if entry.method != QUANTIZED]
    quantized = [f"{entry.method} {entry.stage}" for entry in ran if entry.method == QUANTIZED]
    return ", ".join([*(["all"] if len(plain) == len(STAGES) * len(METHODS) else plain), *quantized])


def _by_stage(ran: list[Entry]) -> Iterator[str]:
    columns = [(way, stage) for way in WAYS for stage in STAGES if way != QUANTIZED or stage < STAGES[-1]]
    yield _line("task", *(f"{way}, ZeRO {stage}" for way, stage in columns))
    yield _line(*["---"] * (len(columns) + 1))
    for task in TASKS:
        counts = [
            sum((entry.task, entry.method, entry.stage) == (task, way, stage) for entry in ran)
            for way, stage in columns
        ]
        yield _line(f"`{task}`", *(str(count) if count else "" for count in counts))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Runs the matrix and writes its tables into the page."""
    found = run_ranks(outcomes, 2, entries())[0]
    for entry, outcome in found.items():
        if outcome != RAN:
            print(f"{entry}: {outcome}", file=sys.stderr)
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + tables(found) + END + rest.partition(END)[2], "utf-8")


if __name__ == "__main__":
    main()
