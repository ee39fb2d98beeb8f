"""A disk that is too small for what a run will write is told before the training."""

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from kubetune_api.job import Freeze
from kubetune_api.reasons import Reason
from kubetune_planner.states import Precision
from kubetune_trainer.artifact import room, sharded
from kubetune_trainer.artifact.room import Writes, refuse_small_disk
from kubetune_trainer.errors import RunError
from kubetune_trainer.methods import Trainable, method_of
from kubetune_trainer.methods.full import Full
from kubetune_trainer.model.load import load_model, load_tokenizer
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.classification import Labels
from support.tiny_models import saved, spec_for, tiny_model

LORA = {"type": "LoRA", "lora": {"rank": 4}}
MERGED = {"type": "LoRA", "lora": {"rank": 4, "publish": "Merged"}}
Usage = namedtuple("Usage", "total used free")


def written(folder: Path, precision: Precision = "FP32", workers: int = 1, **parts: Any) -> tuple[Writes, Trainable]:
    saved(tiny_model("bert", labels=2), folder)
    spec = spec_for("SequenceClassification", folder, **parts).resolved
    loaded = load_model(folder, spec, task_of(spec), Labels(("a", "b")), load_tokenizer(folder))
    method = method_of(spec.method)
    trainable = method.attach(loaded, precision=precision, reach=lambda: 1.0)
    saves = spec.training.checkpoints is not None
    return Writes.of(spec, method, trainable, precision, workers, saves=saves), trainable


def numbers(trainable: Trainable, *, trained: bool = False) -> int:
    parameters = trainable.loaded.model.parameters()
    return sum(one.numel() for one in parameters if one.requires_grad or not trained)


@pytest.mark.parametrize(("precision", "size"), [("FP32", 4), ("BF16", 2)])
def test_a_model_in_one_file_is_written_whole(tmp_path: Path, precision: Precision, size: int) -> None:
    writes, trainable = written(tmp_path, precision)
    assert writes == Writes(0, size * numbers(trainable))


def test_of_a_model_in_several_files_each_rank_writes_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded, "LARGEST", 20_000)
    writes, trainable = written(tmp_path)
    assert writes.whole == 0
    largest = max(4 * parameter.numel() for parameter in trainable.loaded.model.parameters())
    assert largest <= writes.shared <= max(largest, 20_000)
    assert writes.on_one_disk(8) == 8 * writes.shared


def test_of_an_adapter_its_own_numbers_are_written_and_of_a_merged_one_all(tmp_path: Path) -> None:
    alone, trainable = written(tmp_path / "alone", method=LORA)
    assert alone == Writes(0, 4 * numbers(trainable, trained=True))
    merged, trainable = written(tmp_path / "merged", method=MERGED)
    assert merged == Writes(0, 4 * numbers(trainable))


def test_a_checkpoint_is_shared_by_the_ranks(tmp_path: Path) -> None:
    writes, trainable = written(
        tmp_path, "BF16", workers=2, training={"checkpoints": {"everySteps": 1}, "optimizer": {"type": "AdamW"}}
    )
    assert writes.shared == 12 * numbers(trainable) // 2
    assert writes.on_one_disk(2) == 12 * numbers(trainable)


def test_a_pod_that_may_not_write_so_much_names_the_field_of_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    (tmp_path / "fetched").write_bytes(bytes(2**20))
    refuse_small_disk(Writes(2**20), 10 * 2**20)
    with pytest.raises(RunError) as caught:
        refuse_small_disk(Writes(2**20), 8 * 2**20)
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        "the disk of a worker's pod is too small: 8 workers of the pod will write up to 8.39 MB beside 1.05 MB that are"
        " there, and the profile's scratchSize allows 8.39 MB in all; set it to 1Gi or more"
    )


def test_a_disk_with_too_little_room_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(room, "disk_usage", lambda _: Usage(0, 0, 10**9))
    refuse_small_disk(Writes(0, 10**9), None)
    with pytest.raises(RunError) as caught:
        refuse_small_disk(Writes(0, 2 * 10**9), None)
    assert str(caught.value) == (
        f"the disk of a worker is too small: 1 worker will write up to 2 GB to {tmp_path}, where 1 GB are free; free"
        " some space, or set TMPDIR to a folder on a larger disk"
    )


def test_the_tensors_of_the_files_are_told_without_an_engine(tmp_path: Path) -> None:
    _, trainable = written(tmp_path)
    model = trainable.loaded.model
    assert Full(Freeze()).as_stored(model).keys() == model.state_dict().keys()
