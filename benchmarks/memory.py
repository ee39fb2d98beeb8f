"""Every training of the table in docs/planning.md: the planner's estimate against the memory that it really takes.

    make bench-memory

CI measures some of them (tests/integration/planner); this prints all of them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.memory_cases import ACTIVATIONS, MORE, SAVING, STATES, differences


def main() -> None:
    """Prints a line for each."""
    print("more than a smaller one: measured, estimated, error")
    for case, found in differences([*STATES, *ACTIVATIONS, *SAVING, *MORE]).items():
        print(f"{found.measured / 2**20:8.1f} MiB {found.estimated / 2**20:8.1f} MiB {found.error:+6.1%}  {case.name}")


if __name__ == "__main__":
    main()
