"""The comparison of `make bench`, on a tiny model: both systems run, on the same rows in the same order."""

import sys
from pathlib import Path

import pytest

from support.tiny_models import saved, tiny_model
from support.tiny_runs import hard_rows, manifest, write_csv

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from run import SYSTEMS, measure

STEPS = 3


@pytest.fixture
def request_of(tmp_path: Path) -> tuple[Path, Path]:
    """A job's file, and its model."""
    model = saved(tiny_model("bert", labels=2), tmp_path / "model")
    data = write_csv(tmp_path / "data.csv", ("text", "label"), hard_rows(120))
    training = {"globalBatchSize": 8, "microBatchSize": 4, "maxSteps": STEPS, "learningRate": 1e-3}
    dataset = {"uri": data, "testFraction": 0.2}
    return manifest(tmp_path, model, "SequenceClassification", dataset, training=training), model


def test_both_systems_come_to_the_same_losses(tmp_path: Path, request_of: tuple[Path, Path]) -> None:
    file, model = request_of
    ours, theirs = (measure(tmp_path, system, file, model, []) for system in SYSTEMS)
    assert len(ours["losses"]) == STEPS
    assert ours["losses"] == pytest.approx(theirs["losses"], abs=1e-4)
    exact = theirs["metrics"].keys() - {"auc"}  # kubetune counts scores in bins, and those of this model are in few
    assert {name: ours["metrics"][name] for name in exact} == pytest.approx(
        {name: theirs["metrics"][name] for name in exact}, abs=1e-4
    )


def test_what_a_system_wrote_is_shown_when_it_fails(tmp_path: Path, request_of: tuple[Path, Path]) -> None:
    file, model = request_of
    with pytest.raises(SystemExit, match=r"spec\.training\.maxSteps"):
        measure(tmp_path, "kubetune", file, model, ["spec.training.maxSteps=-1"])
