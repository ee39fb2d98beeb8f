"""A model of several shards, each written and uploaded by one rank and verified by another."""

import json

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from kubetune_trainer.model.stored import tensor_digest
from support.ranks import run_ranks
from support.sharded_models import SPOILED, UNSPOILED, Outcome, ShardedCase, publish_each

WHOLE = [case for case in UNSPOILED if case.is_compared]
_NAME = "{0.family}, stage {0.stage}".format

Found = list[dict[ShardedCase, Outcome]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return run_ranks(publish_each, 2, [*UNSPOILED, SPOILED], str(tmp_path_factory.mktemp("shards")))


@pytest.mark.parametrize("case", WHOLE, ids=_NAME)
def test_each_rank_uploads_some_of_the_shards_and_verifies_those_of_the_other(found: Found, case: ShardedCase) -> None:
    first, second = (rank[case] for rank in found)
    shards = sorted(path.name for path in first.folder.glob("*.safetensors"))
    assert len(shards) > 2
    assert min(len(first.uploaded), len(second.uploaded)) > 0
    assert sorted(first.uploaded + second.uploaded) == shards
    assert (first.checked, second.checked) == (second.uploaded, first.uploaded)
    assert first.refused == ""


@pytest.mark.parametrize("case", WHOLE, ids=_NAME)
def test_a_model_in_shards_is_the_model_in_one_file(found: Found, case: ShardedCase) -> None:
    outcome = found[0][case]
    index = json.loads((outcome.folder / "model.safetensors.index.json").read_text())
    held = {path.name: load_file(path) for path in outcome.folder.glob("*.safetensors")}
    assert {name: file for file, tensors in held.items() for name in tensors} == index["weight_map"]
    tensors = {name: tensor for file in held.values() for name, tensor in file.items()}
    assert sum(tensor.nbytes for tensor in tensors.values()) == index["metadata"]["total_size"]
    whole = load_file(outcome.whole / "model.safetensors")
    assert digests(tensors) == digests(whole)
    opened = [AutoModelForCausalLM.from_pretrained(folder) for folder in (outcome.whole, outcome.folder)]
    assert digests(opened[0].state_dict()) == digests(opened[1].state_dict())
    beside = [
        {path.name: path.read_bytes() for path in folder.glob("*.json") if "index" not in path.name}
        for folder in (outcome.whole, outcome.folder)
    ]
    assert beside[0] == beside[1]


def test_an_adapter_is_one_file_whatever_its_size(found: Found) -> None:
    (case,) = (case for case in UNSPOILED if case.method == "LoRA")
    outcome = found[0][case]
    assert [path.name for path in outcome.folder.glob("*.safetensors")] == ["adapter_model.safetensors"]
    assert outcome.refused == ""


def test_a_shard_that_changes_in_the_store_before_it_is_verified_is_refused(found: Found) -> None:
    refused, changed = found[0][SPOILED].refused, found[1][SPOILED].checked[0]
    assert "is not what was trained and is not published" in refused
    assert f"{changed} has other bytes in the store than were sent" in refused


def digests(tensors: dict[str, object]) -> dict[str, str]:
    return {name: tensor_digest(tensor) for name, tensor in tensors.items()}  # type: ignore[arg-type]
