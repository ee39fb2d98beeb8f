"""The trainings that the tests compare: one group of processes per number of workers, since each takes a while."""

import pytest
import torch

from support.ranks import run_ranks
from support.training_cases import (
    BESIDE_PEFT,
    BF16,
    LONG,
    NOISY,
    QUANTIZED_BF16,
    READ,
    SAVING,
    SPARSE_BF16,
    SPREAD,
    WHOLE,
    Case,
    Trained,
    train_each,
)

HALF_PRECISION = torch.ops.mkldnn._is_mkldnn_fp16_supported()
"""Whether this CPU computes in float16. The product never does on CPUs: these tests are in place of a GPU."""
collect_ignore = [] if HALF_PRECISION else ["test_half_precision.py"]

Group = list[dict[Case, Trained]]
"""What each rank of a group came to."""


@pytest.fixture(scope="session")
def one_worker() -> Group:
    """The references among them."""
    alone = [case.alone for cases in SPREAD.values() for case in cases]
    cases = [*alone, *SPREAD[1], *BF16[1], *LONG, *BESIDE_PEFT, *WHOLE, NOISY]
    return run_ranks(train_each, 1, list(dict.fromkeys(cases)))


@pytest.fixture(scope="session")
def two_workers() -> Group:
    saving = [one for case in SAVING for one in (case.plain, case)]
    cases = [*SPREAD[2], *BF16[2], *SPARSE_BF16, QUANTIZED_BF16, *saving, *READ, *(case.from_32_bits for case in READ)]
    return run_ranks(train_each, 2, list(dict.fromkeys(cases)))


@pytest.fixture(scope="session")
def three_workers() -> Group:
    return run_ranks(train_each, 3, SPREAD[3])
