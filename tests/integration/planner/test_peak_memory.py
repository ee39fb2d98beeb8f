"""The planner's need, held against the memory that real trainings take at their peak, on CPUs.

What is compared is the difference between two trainings of one process: Python and its libraries are in both.
"""

from dataclasses import replace

import pytest

from kubetune_planner.memory import need
from kubetune_planner.shape import ModelShape
from support.memory_cases import MemoryCase, peaks_of
from support.ranks import run_ranks

UNDER, OVER = 0.05, 0.20
"""How far the planner may be below and above what was measured, as shares of it. It adds up buffers that in models as
small as these are never there at the same time, so it is above rather than below."""
STATES = [
    MemoryCase(layers=6),
    MemoryCase(layers=6, stage=1, passes=2),
    MemoryCase(layers=6, stage=2),
    MemoryCase(layers=6, stage=2, passes=2),
    MemoryCase(layers=6, stage=1, bf16=True),
    MemoryCase(layers=6, stage=2, bf16=True, passes=2),
    MemoryCase(layers=6, stage=3),
    MemoryCase(layers=6, stage=3, bf16=True, passes=2),
]
# In the second pass of a step, gradients, states and activations are there at once. Only at stage 0: on a CPU, the
# buckets of higher stages fill while the activations go, and the planner adds the two up.
ACTIVATIONS = [
    MemoryCase(rows=16, length=128, passes=2),
    MemoryCase(rows=16, length=128, passes=2, layers=6, frozen=True),
    MemoryCase("llama", rows=16, length=128, passes=2),
    MemoryCase("llama", rows=8, length=128, passes=2, vocabulary=16000),
]


def smaller(case: MemoryCase) -> MemoryCase:
    """The training to compare with: fewer layers, or fewer and shorter rows."""
    return replace(case, layers=2) if case in STATES else replace(case, rows=1, length=8)


def name(case: MemoryCase) -> str:
    parts = [case.family, f"stage {case.stage}", "16 bits" if case.bf16 else "32 bits"]
    parts += [f"{case.rows} rows of {case.length}", f"{case.passes} passes", f"{case.vocabulary} words"]
    return ", ".join([*parts, *["frozen"] * case.frozen])


def said(case: MemoryCase) -> int:
    return need(
        ModelShape.from_config(case.config.to_dict()),
        case.spec(workers=2),
        stage=case.stage,
        workers=2,
        micro_batch_size=case.rows,
        precision="BF16" if case.bf16 else "FP32",
        device="cpu",
    ).total


@pytest.fixture(scope="module")
def peaks() -> dict[MemoryCase, int]:
    """What the first of two workers took."""
    cases = [found for case in [*ACTIVATIONS, *STATES] for found in (smaller(case), case)]
    measured: dict[MemoryCase, int] = run_ranks(peaks_of, 2, list(dict.fromkeys(cases)))[0]
    return measured


@pytest.mark.parametrize("case", [*STATES, *ACTIVATIONS], ids=name)
def test_a_larger_training_needs_as_much_more_as_is_said(case: MemoryCase, peaks: dict[MemoryCase, int]) -> None:
    measured = peaks[case] - peaks[smaller(case)]
    more = said(case) - said(smaller(case))
    assert (1 - UNDER) * measured <= more <= (1 + OVER) * measured, f"said {more:,}, measured {measured:,}"
