"""The losses of a run do not depend on how it is spread: on the workers, the ZeRO stage, or the micro-batch."""

import json
from pathlib import Path

import numpy as np
import pytest

from support.training_cases import (
    ADAPTERS,
    BF16,
    BOTH,
    NOISY,
    OPTIMIZERS,
    QUANTIZED_BF16,
    READ,
    SAVING,
    SPARSE,
    SPARSE_BF16,
    SPREAD,
    TIED,
    Case,
    Trained,
)

TOLERANCE = 1e-3
GOLDEN = Path(__file__).parents[2] / "golden"
Group = list[dict[Case, Trained]]


def name(case: Case) -> str:
    settings = ", ".join((case.optimizer, *(field for field, _ in case.more), *case.saves))
    return f"{case.family}, stage {case.stage}, micro-batches of {case.micro}, {settings}"


def each(cases: dict[int, list[Case]]) -> list[pytest.ParameterSet]:
    groups = {1: "one_worker", 2: "two_workers", 3: "three_workers"}
    return [
        pytest.param(groups[workers], case, id=f"{groups[workers].replace('_', ' ')}, {name(case)}")
        for workers, of_group in cases.items()
        for case in of_group
    ]


def assert_same(trained: Trained, alone: Trained, tolerance: float) -> None:
    assert trained.losses == pytest.approx(alone.losses, abs=tolerance)
    assert trained.learning_rates == alone.learning_rates
    for mine, theirs in zip(trained.evaluations, alone.evaluations, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=tolerance)
    assert trained.intervals["loss"] == pytest.approx(alone.intervals["loss"], abs=tolerance)


@pytest.mark.parametrize(("group", "case"), each(SPREAD))
def test_a_training_is_that_of_one_worker(
    group: str, case: Case, one_worker: Group, request: pytest.FixtureRequest
) -> None:
    alone = one_worker[0][case.alone]
    ranks: Group = request.getfixturevalue(group)
    for rank in ranks:
        assert_same(rank[case], alone, TOLERANCE)
        assert rank[case].gradient_norms == pytest.approx(alone.gradient_norms, rel=TOLERANCE)
    weights = ranks[0][case].weights
    assert weights.keys() == alone.weights.keys()
    for tensor, values in weights.items():
        assert np.abs(values - alone.weights[tensor]).max() < TOLERANCE, tensor


@pytest.mark.parametrize("case", ADAPTERS, ids=lambda case: f"{case.lora}, {name(case)}")
def test_an_adapter_is_that_of_one_worker_tensor_by_tensor(case: Case, one_worker: Group, two_workers: Group) -> None:
    alone, spread = one_worker[0][case.alone].weights, two_workers[0][case].weights
    assert spread.keys() == alone.keys()
    assert all(".lora_" in tensor or case.family == "bert" for tensor in spread)
    for tensor, values in spread.items():
        assert values.shape == alone[tensor].shape
        assert np.abs(values - alone[tensor]).max() < 1e-4, tensor
        assert np.abs(values).max() > 0, tensor


QUANTIZED = [*(case for case in ADAPTERS if case.quantization), QUANTIZED_BF16]


@pytest.mark.parametrize("case", QUANTIZED, ids=lambda case: f"{case.quantization}, {name(case)}")
def test_quantized_weights_are_the_same_on_each_rank_before_and_after(case: Case, two_workers: Group) -> None:
    first, last = two_workers[0][case].quantized
    assert len(first) > 20
    assert first == last
    assert two_workers[1][case].quantized == (first, first)


@pytest.mark.parametrize("case", QUANTIZED, ids=lambda case: f"{case.quantization}, {name(case)}")
def test_training_beside_quantized_weights_is_nearly_that_beside_whole_ones(
    case: Case, one_worker: Group, two_workers: Group
) -> None:
    whole = one_worker[0][Case(case.family, lora="Standard")]
    found = two_workers[0][case]
    assert found.losses != whole.losses
    assert found.losses == pytest.approx(whole.losses, abs=0.05)


@pytest.mark.parametrize(
    ("case", "share"),
    [
        *(pytest.param(Case(family), 0.8, id=family) for family in BOTH),
        *(pytest.param(case.alone, 0.99, id=case.optimizer) for case in OPTIMIZERS),
    ],
)
def test_the_training_learns(case: Case, share: float, one_worker: Group) -> None:
    """Otherwise the losses would be the same because nothing ever changes."""
    losses = one_worker[0][case].losses
    assert len(losses) == 16
    assert losses[-1] < share * losses[0]


@pytest.mark.parametrize(("group", "case"), each(BF16))
def test_bfloat16_learns_about_as_well_as_32_bits(
    group: str, case: Case, one_worker: Group, request: pytest.FixtureRequest
) -> None:
    ranks: Group = request.getfixturevalue(group)
    full = one_worker[0][Case(case.family)]
    assert ranks[0][case].losses != full.losses
    assert_same(ranks[0][case], full, 0.05)


@pytest.mark.parametrize("case", SAVING, ids=lambda case: case.how)
def test_what_saves_memory_changes_no_loss(case: Case, two_workers: Group) -> None:
    for rank in two_workers:
        plain = rank[case.plain]
        assert_same(rank[case], plain, TOLERANCE)
        assert rank[case].gradient_norms == pytest.approx(plain.gradient_norms, rel=TOLERANCE)


def test_gradients_that_stay_where_they_are_are_copied_into_no_bucket(one_worker: Group, two_workers: Group) -> None:
    assert [one_worker[0][case].buckets for case in (*SPREAD[1], *BF16[1])] == [0] * 5
    assert two_workers[0][Case("llama", micro=4)].buckets == 0


@pytest.mark.parametrize("case", READ, ids=lambda case: case.how)
def test_weights_that_are_read_as_the_files_have_them_train_bit_for_bit_as_those_read_in_32_bits(
    case: Case, two_workers: Group
) -> None:
    for rank in two_workers:
        found, expected = rank[case], rank[case.from_32_bits]
        assert found.losses == expected.losses
        assert found.gradient_norms == expected.gradient_norms
        assert found.weights.keys() == expected.weights.keys()
        for tensor, values in found.weights.items():
            assert (values == expected.weights[tensor]).all(), tensor


@pytest.mark.parametrize("case", [*SPARSE, *SPARSE_BF16], ids=lambda case: case.how)
def test_an_l1_penalty_gives_zeros_at_every_stage(case: Case, two_workers: Group) -> None:
    def share_of_zeros(trained: Trained) -> float:
        matrices = [values for values in trained.weights.values() if values.ndim > 1]
        return float(sum((values == 0).sum() for values in matrices) / sum(values.size for values in matrices))

    assert share_of_zeros(two_workers[0][case]) > 0.1
    assert share_of_zeros(two_workers[0][Case("llama", micro=4)]) < 0.01


def test_noise_on_the_embeddings_is_there_in_training_and_not_in_an_evaluation(one_worker: Group) -> None:
    noisy, plain = one_worker[0][NOISY], one_worker[0][Case("llama")]
    assert noisy.losses[0] != plain.losses[0]
    # Those before the first step.
    assert noisy.evaluations[:2] == plain.evaluations[:2]


def test_only_the_first_rank_gathers_the_weights(two_workers: Group) -> None:
    for case in SPREAD[2]:
        assert len(two_workers[0][case].weights) > 0
        assert two_workers[1][case].weights == {}


def test_frozen_tied_embeddings_stay_and_are_written_once(two_workers: Group) -> None:
    trained = two_workers[0][TIED]
    assert trained.written == trained.weights.keys() - {"lm_head.weight"}
    before = TIED.model.state_dict()
    for tensor in ("transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight"):
        assert (trained.weights[tensor] == before[tensor].numpy()).all(), tensor
    assert (trained.weights["transformer.h.0.ln_1.weight"] != before["transformer.h.0.ln_1.weight"].numpy()).any()


WRITING = {workers: [case for case in cases if case.writes] for workers, cases in SPREAD.items()}


@pytest.mark.parametrize(("group", "case"), each(WRITING))
def test_the_same_answers_are_written_however_a_model_is_spread(
    group: str, case: Case, one_worker: Group, request: pytest.FixtureRequest
) -> None:
    """Before the training on both splits, and on both at its end."""
    alone = one_worker[0][case.alone]
    ranks: Group = request.getfixturevalue(group)
    for rank in ranks:
        trained = rank[case]
        assert len(trained.answers) == 4
        assert trained.answers[:2] == alone.answers[:2]
        for mine, theirs in zip(trained.evaluations, alone.evaluations, strict=True):
            assert mine.keys() == theirs.keys()
        assert trained.evaluations[-1]["token_f1"] == pytest.approx(alone.evaluations[-1]["token_f1"], abs=0.1)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_losses_are_those_of_the_last_release(family: str, one_worker: Group) -> None:
    """Whoever changes the numbers on purpose puts the list that the failure shows into the file, and says why."""
    kept = json.loads((GOLDEN / f"losses-{family}.json").read_text())
    trained = one_worker[0][Case(family)]
    losses = [round(loss, 5) for loss in trained.losses]
    assert losses == pytest.approx(kept["losses"], abs=1e-4), f"they are {losses}"
    evaluations = [round(metrics["loss"], 5) for metrics in trained.evaluations]
    assert evaluations == pytest.approx(kept["evaluations"], abs=1e-4), f"they are {evaluations}"
