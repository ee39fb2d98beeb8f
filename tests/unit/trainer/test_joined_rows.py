"""Rows without padding: the same numbers as with it, for every family and head, and no row knows of another."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from kubetune_api.families import FAMILIES
from kubetune_api.job.task_settings import PreferenceSettings
from kubetune_api.tasks import TASKS
from kubetune_trainer.tasks.embedding import Embedding, VectorSpace
from kubetune_trainer.tasks.number_metrics import Frame
from kubetune_trainer.tasks.preference import Preference, Rewards
from kubetune_trainer.training.activation_checkpointing import compute_again
from kubetune_trainer.training.collate import collate
from kubetune_trainer.training.joined import Joined, join_rows, tell_lengths
from kubetune_trainer.training.noise import add_noise
from support.tiny_models import PAD, pair_rows, preference_rows, scored_rows, tiny_model, tiny_tagger
from support.training_cases import LEARNED, Learned

LENGTHS = (29, 12, 12, 5, 1, 20)
PADDED = {"bart", "deberta-v2", "gemma2", "mbart", "mpnet", "mt5", "pegasus", "t5"}
JOINED = sorted(FAMILIES.keys() - PADDED)


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Rows of unequal lengths, padded on the right."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 60, (len(LENGTHS), max(LENGTHS)), generator=random)
    mask = torch.arange(max(LENGTHS))[None, :] < torch.tensor(LENGTHS)[:, None]
    return {"input_ids": tokens * mask, "attention_mask": mask.long()}


def heads(family: str) -> dict[str, Any]:
    """A model for each kind of task that the family can learn."""
    known = FAMILIES[family]
    made = {"none": tiny_model(family, labels=0), "of a text": tiny_model(family, labels=3)}
    if known.decoder:
        made["of a language"] = tiny_model(family, labels=None)
    if known.tagger:
        made["of tokens"] = tiny_tagger(family, labels=5)
    return made


def answer(model: Any, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the model makes of each row, nothing of padding."""
    output = model(**given)
    found = output.logits if "logits" in output else output.last_hidden_state
    return found if found.ndim == 2 else found * given["attention_mask"][..., None]


def test_the_families_that_join_rows_are_those_that_need_nothing_but_positions_and_a_fused_attention() -> None:
    assert {name for name, family in FAMILIES.items() if not family.joins_rows} == PADDED


@pytest.mark.parametrize("family", JOINED)
def test_each_head_answers_joined_rows_as_padded_ones_and_learns_the_same(family: str) -> None:
    given = batch()
    for head, model in heads(family).items():
        model.eval()
        other = deepcopy(model)
        assert join_rows(other) is not None
        expected, found = answer(model, given), answer(other, given)
        assert torch.allclose(found, expected, atol=1e-5), head
        expected.square().sum().backward()
        found.square().sum().backward()
        for (name, mine), theirs in zip(other.named_parameters(), model.parameters(), strict=True):
            if theirs.grad is not None:
                assert torch.allclose(mine.grad, theirs.grad, rtol=1e-3, atol=1e-4), (head, name)


EACH = [
    *(pytest.param("bert", LEARNED[name], id=name) for name in LEARNED if TASKS[name].model == "Any"),
    pytest.param("llama", LEARNED["CausalLM"], id="CausalLM"),
    pytest.param("llama", Learned(Preference(), preference_rows, Rewards(PreferenceSettings()), None), id="Preference"),
    *(
        pytest.param(
            "bert", Learned(Embedding(), rows, VectorSpace(parts, "Mean", 0.05, frame), 0), id=f"Embedding of {parts}"
        )
        for rows, parts, frame in (
            (pair_rows, ("anchor", "positive"), None),
            (scored_rows, ("sentence1", "sentence2"), Frame.of(np.array([-1.0, 1.0]))),
        )
    ),
]


@pytest.mark.parametrize(("family", "learned"), EACH)
def test_the_losses_of_each_task_are_those_with_padding(family: str, learned: Learned) -> None:
    model = learned.model(family, labels=learned.outputs).eval()
    other = deepcopy(model)
    join_rows(other)
    batch = collate(learned.rows(11), np.array([7, 2, 3, 10, 5]), PAD, torch.device("cpu"))
    with torch.no_grad():
        expected, found = (learned.task.losses(each, batch, learned.space).rows for each in (model, other))
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.abs().min() > 0


def test_lengths_that_are_told_and_those_that_a_mask_is_asked_for_are_the_same() -> None:
    model, given = tiny_model("bert", labels=3).eval(), batch()
    join_rows(model)
    asked = answer(model, given)
    tell_lengths(given["attention_mask"], np.array(LENGTHS))
    assert torch.equal(answer(model, given), asked)
    tell_lengths(given["attention_mask"], np.array((3, *LENGTHS[1:])))
    assert not torch.equal(answer(model, given)[0], asked[0]), "the mask itself is asked"


@pytest.mark.parametrize("family", JOINED)
def test_no_row_knows_of_another_one(family: str) -> None:
    for head, model in heads(family).items():
        model.eval()
        join_rows(model)
        before, other = batch(), batch(seed=1)
        changed = {**before, "input_ids": before["input_ids"].clone()}
        changed["input_ids"][2] = other["input_ids"][2]
        with torch.no_grad():
            first, then = answer(model, before), answer(model, changed)
        assert not torch.equal(first[2], then[2]), head
        assert torch.equal(first[[0, 1, 3, 4, 5]], then[[0, 1, 3, 4, 5]]), head


@pytest.mark.parametrize("family", JOINED)
def test_the_layers_get_no_padding(family: str) -> None:
    model = tiny_model(family, labels=0)
    join_rows(model)
    seen = set()
    for layer in model.get_submodule(FAMILIES[family].layers):
        layer.register_forward_pre_hook(lambda _, given: seen.add(given[0].shape[:2]))
    model(**batch())
    assert seen == {(1, sum(LENGTHS))}


@pytest.mark.parametrize("family", ["bert", "llama", "modernbert"])
def test_layers_that_are_computed_again_find_where_rows_begin(family: str) -> None:
    gradients = []
    for again in (False, True):
        model = tiny_model(family, labels=3).train()
        join_rows(model)
        if again:
            compute_again(model)
        answer(model, batch()).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*gradients, strict=True))


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_a_model_that_joins_rows_writes_what_it_wrote(family: str) -> None:
    model = tiny_model(family, labels=None).eval()
    given = {name: lines.flip(1) for name, lines in batch().items()}
    expected = model.generate(**given, max_new_tokens=4, do_sample=False, use_cache=True)
    join_rows(model)
    assert torch.equal(model.generate(**given, max_new_tokens=4, do_sample=False, use_cache=True), expected)


@pytest.mark.parametrize("family", sorted(PADDED))
def test_other_families_stay_as_they_are(family: str) -> None:
    model = tiny_model(family, labels=None if FAMILIES[family].generates else 3)
    before = model.config._attn_implementation
    assert join_rows(model) is None
    assert model.config._attn_implementation == before


def test_the_configuration_says_nothing_of_it() -> None:
    model = tiny_model("bert", labels=3)
    before = model.config.to_dict()
    join_rows(model)
    assert model.config.to_dict() == before


def test_noise_reaches_as_far_as_the_length_of_each_row_itself_allows() -> None:
    model = tiny_model("llama", labels=None)
    joined = Joined(model)
    noisy: list[torch.Tensor] = []
    add_noise(model, 5.0, joined)
    embeddings = model.get_input_embeddings()
    embeddings.register_forward_hook(lambda module, given, output: noisy.append(output - module.weight[given[0]]))
    torch.manual_seed(0)
    model.train()
    model(**batch())
    for length, noise in zip(LENGTHS, noisy[0][0].split(LENGTHS), strict=True):
        reach = 5.0 / (length * noise.shape[-1]) ** 0.5
        assert 0.7 * reach < noise.abs().max() <= reach + 1e-6
