"""`Full`: which weights it trains, and what it expects of the published files."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from transformers import AutoModelForSequenceClassification

from kubetune_api.job import Freeze, Method
from kubetune_api.reasons import Reason
from kubetune_trainer.artifact.publish import upload_folder
from kubetune_trainer.artifact.verify import verify
from kubetune_trainer.errors import RunError
from kubetune_trainer.methods import Trainable, method_of
from kubetune_trainer.methods.full import Full
from kubetune_trainer.model.load import LoadedModel, load_model, load_tokenizer
from kubetune_trainer.model.stored import tensor_digest
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.classification import Labels
from support.tiny_models import saved, spec_for, tiny_model

HEAD = {"classifier.weight", "classifier.bias"}
FOLDER = "executions/1/model"
NOTHING = Freeze()


def loaded_from(folder: Path) -> LoadedModel:
    saved(tiny_model("bert", labels=2), folder)
    spec = spec_for("SequenceClassification", folder)
    return load_model(folder, spec, task_of(spec), Labels(("a", "b", "c")), load_tokenizer(folder))


def attached(folder: Path, precision: str = "FP32", freeze: Freeze = NOTHING) -> Trainable:
    return Full(freeze).attach(
        loaded_from(folder), precision="BF16" if precision == "BF16" else "FP32", reach=lambda: 1.0
    )


def test_the_method_of_a_manifest_has_its_settings() -> None:
    assert method_of(Method(freeze=Freeze(bottom_layers=2))) == Full(Freeze(bottom_layers=2))


def test_nothing_is_frozen_unasked(tmp_path: Path) -> None:
    assert attached(tmp_path).frozen == frozenset()


def test_what_is_frozen_is_expected_to_be_as_it_was(tmp_path: Path) -> None:
    trainable = attached(tmp_path, freeze=Freeze(embeddings=True))
    assert Full(NOTHING).expectation(trainable, {}).frozen == trainable.frozen
    assert "bert.embeddings.word_embeddings.weight" in trainable.frozen


@pytest.mark.parametrize(("precision", "stored_as"), [("FP32", torch.float32), ("BF16", torch.bfloat16)])
def test_the_first_values_of_a_new_head_are_known_as_they_would_be_stored(
    tmp_path: Path, precision: str, stored_as: torch.dtype
) -> None:
    trainable = attached(tmp_path, precision)
    assert trainable.first_values == {
        name: tensor_digest(parameter.to(stored_as))
        for name, parameter in trainable.loaded.model.named_parameters()
        if name in HEAD
    }


def test_frozen_experts_that_the_files_hold_one_by_one_are_known_by_their_first_values(tmp_path: Path) -> None:
    saved(tiny_model("mixtral", labels=None), tmp_path)
    tiny_model("mixtral", labels=None).save_pretrained(tmp_path, save_original_format=True)
    spec = spec_for("CausalLM", tmp_path)
    loaded = load_model(tmp_path, spec, task_of(spec), None, load_tokenizer(tmp_path))
    trainable = Full(Freeze(bottom_layers=1)).attach(loaded, precision="FP32", reach=lambda: 1.0)
    experts = "model.layers.0.mlp.experts.down_proj"
    assert experts in trainable.frozen
    assert trainable.first_values[experts] == tensor_digest(loaded.model.get_parameter(experts).detach())


@pytest.mark.parametrize(("rank", "known"), [(0, HEAD), (1, set())])
def test_first_values_are_worked_out_on_rank_0_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, known: set[str]
) -> None:
    loaded = loaded_from(tmp_path)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: rank)
    assert Full(NOTHING).attach(loaded, precision="FP32", reach=lambda: 1.0).first_values.keys() == known


def test_a_head_that_never_trained_is_refused_by_the_verification(tmp_path: Path) -> None:
    method, trainable = Full(NOTHING), attached(tmp_path / "base")
    state = {name: tensor.clone() for name, tensor in trainable.loaded.model.state_dict().items()}
    trained = {
        name: tensor if name in HEAD or not tensor.is_floating_point() else tensor + 0.5
        for name, tensor in state.items()
    }
    shapes = method.write(trainable, trained.items(), tmp_path / "model")
    load_tokenizer(tmp_path / "base").save_pretrained(tmp_path / "model")
    store = Store.open((tmp_path / "store").as_uri())
    files = upload_folder(tmp_path / "model", store, FOLDER)
    expected = method.expectation(trainable, shapes)
    with pytest.raises(RunError, match=r"the tensor classifier\.bias has its first values everywhere"):
        verify(store, FOLDER, files, expected, tmp_path / "base", AutoModelForSequenceClassification)


def not_asked() -> float:
    raise AssertionError("the rates of all steps are summed up for nothing")


def test_what_rounding_to_bfloat16_may_hide_may_be_unchanged(tmp_path: Path) -> None:
    """T16: steps far smaller than the distance of neighbours ended as VerificationFailed."""
    loaded = loaded_from(tmp_path)
    matrices = {name for name, parameter in loaded.model.named_parameters() if parameter.ndim > 1}
    assert matrices <= Full(NOTHING).attach(loaded, precision="BF16", reach=lambda: 1e-6).may_be_unchanged
    assert not matrices & Full(NOTHING).attach(loaded, precision="BF16", reach=lambda: 1e-2).may_be_unchanged
    assert not matrices & Full(NOTHING).attach(loaded, precision="FP32", reach=not_asked).may_be_unchanged


def test_float16_hides_an_eighth_of_that(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path)
    matrices = {name for name, parameter in loaded.model.named_parameters() if parameter.ndim > 1}
    assert matrices <= Full(NOTHING).attach(loaded, precision="FP16", reach=lambda: 1e-7).may_be_unchanged
    assert not matrices & Full(NOTHING).attach(loaded, precision="FP16", reach=lambda: 1e-2 / 8).may_be_unchanged


def test_steps_that_rounding_hides_altogether_are_refused_before_the_training(tmp_path: Path) -> None:
    """T16."""
    loaded = loaded_from(tmp_path)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.fill_(0.5)
    with pytest.raises(RunError) as caught:
        Full(NOTHING).attach(loaded, precision="BF16", reach=lambda: 2e-5)
    assert caught.value.reason == Reason.INVALID_MANIFEST
    assert str(caught.value) == (
        "spec.training.learningRate: all steps together move no weight by more than about 2.0e-05, which BF16 rounds"
        " away; raise it, train for more steps, or set spec.training.precision to FP32"
    )


def test_the_halfway_between_neighbours_is_where_rounding_ends() -> None:
    """T16: a weight that moves less than the least distance is stored as it was, wherever it is."""
    values = torch.linspace(0.5, 4.0, 1001).to(torch.bfloat16).float()
    for sign in (1, -1):
        moved = values + sign * values * 2.0**-9 * 0.99
        assert torch.equal(moved.to(torch.bfloat16).float(), values)
        assert not torch.equal((values + sign * values * 2.0**-8 * 1.01).to(torch.bfloat16).float(), values)
