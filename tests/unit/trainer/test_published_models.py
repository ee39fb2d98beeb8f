"""A published model as the pretrained model of another run: nothing of it is lost, but for a head of other answers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kubetune_api.job import Method, RegressionSettings
from kubetune_api.tasks import TASKS
from kubetune_trainer.methods import method_of
from kubetune_trainer.model.load import LoadedModel, load_model, load_tokenizer
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.causal import Vocabulary
from kubetune_trainer.tasks.classification import Labels
from kubetune_trainer.tasks.multi_label import LabelSets
from kubetune_trainer.tasks.number_metrics import Frame
from kubetune_trainer.tasks.regression import Scale
from kubetune_trainer.tasks.seq2seq import WrittenTexts
from kubetune_trainer.tasks.tagging import Tags
from support.tiny_models import saved, spec_for, tiny_model

# peft asks transformers for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
FRAME = Frame(1.6, 0.3, 0.2, 3.2)
HEADS = {
    "SequenceClassification": (Labels(("a", "b", "c")), Labels(("a", "b", "x"))),
    "MultiLabelClassification": (LabelSets(("a", "b", "c")), LabelSets(("a", "b"))),
    "TokenClassification": (Tags(("O", "B-A", "I-A")), Tags(("O", "B-B", "I-B"))),
    "SequenceRegression": (Scale((FRAME,), RegressionSettings()), Scale((FRAME, FRAME), RegressionSettings())),
}
"""What a head answers, and what another does."""
METHODS = {
    "whole": {"type": "Full"},
    "merged": {"type": "LoRA", "lora": {"rank": 4, "publish": "Merged"}},
}


def space_of(task: str) -> Any:
    spec = spec_for(task)
    spaces: dict[str, Any] = {"CausalLM": Vocabulary(), "Seq2Seq": WrittenTexts(32)}
    return HEADS[task][0] if task in HEADS else spaces.get(task) or task_of(spec).space(spec, {}, {})


def load(task: str, folder: Path, space: Any) -> LoadedModel:
    spec = spec_for(task, folder)
    return load_model(folder, spec, task_of(spec), space, load_tokenizer(folder))


def published(task: str, method: dict[str, Any], folder: Path) -> Path:
    """What a run publishes, in which every trained tensor has moved."""
    family = {"CausalLM": "llama", "Preference": "llama", "Seq2Seq": "t5"}.get(task, "bert")
    saved(tiny_model(family, labels=2 if family == "bert" else None), folder / "base")
    torch.manual_seed(0)
    loaded = load(task, folder / "base", space_of(task))
    of_run = method_of(Method.model_validate(method))
    trainable = of_run.attach(loaded, precision="FP32", reach=lambda: 1.0)
    with torch.no_grad():
        for each in loaded.model.parameters():
            if each.requires_grad:
                each += 0.1 * torch.randn(each.shape)
    (folder / "model").mkdir()
    of_run.write(trainable, loaded.model.state_dict().items(), folder / "model")
    load_tokenizer(folder / "base").save_pretrained(folder / "model")
    return folder / "model"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_a_published_model_is_trained_on_with_all_that_it_has(task: str, method: str, tmp_path: Path) -> None:
    folder = published(task, METHODS[method], tmp_path)
    loaded, stored = load(task, folder, space_of(task)), load_file(folder / "model.safetensors")
    state = loaded.model.state_dict()
    assert {loaded.base_names[name] for name in state} == set(stored)
    assert all(torch.equal(values, stored[loaded.base_names[name]]) for name, values in state.items())
    assert (loaded.head_is_new, loaded.notes) == (False, ())


@pytest.mark.parametrize("task", HEADS)
def test_a_head_of_a_published_model_for_other_answers_is_replaced_with_a_note(task: str, tmp_path: Path) -> None:
    folder, (_, other) = published(task, METHODS["whole"], tmp_path), HEADS[task]
    loaded, stored = load(task, folder, other), load_file(folder / "model.safetensors")
    assert loaded.head_is_new
    for name, values in loaded.model.state_dict().items():
        same = name in stored and values.shape == stored[name].shape and torch.equal(values, stored[name])
        assert same == name.startswith("bert."), name
    (note,) = loaded.notes
    assert note.startswith("the model came with a head for other answers (")
    assert note.endswith("): a new one is trained in its place")
