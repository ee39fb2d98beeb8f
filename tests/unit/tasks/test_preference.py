"""Preferences: their loss against its definition, and what a reward is."""

from dataclasses import replace
from math import exp, log
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from kubetune_api.job.task_settings import PreferenceSettings
from kubetune_trainer.data.rows import Row
from kubetune_trainer.tasks.base import Losses, MicroBatch
from kubetune_trainer.tasks.preference import Preference, Rewards, log_probabilities
from kubetune_trainer.tasks.preference_losses import preference_losses, rewards
from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.collate import collate
from kubetune_trainer.training.reference import with_references
from kubetune_trainer.underway import ReferenceProgress
from support.tiny_models import VOCABULARY, preference_rows, spec_for
from support.tiny_tokenizers import CHATML, gpt_like

GAINED = torch.tensor([[2.0, -1.0], [0.0, 3.0]])
TOKENS = torch.tensor([[4, 2], [1, 3]])


def test_dpo_is_the_sigmoid_of_the_difference_of_what_both_gained() -> None:
    expected = [log(1 + exp(-0.3 * margin)) for margin in (3.0, -3.0)]
    losses = preference_losses(GAINED, TOKENS, PreferenceSettings(beta=0.3))
    assert losses.tolist() == pytest.approx(expected, abs=1e-6)


def test_ipo_draws_the_difference_of_the_means_to_a_half_of_one_over_beta() -> None:
    expected = [(margin - 1 / 0.4) ** 2 for margin in (0.5 + 0.5, 0.0 - 1.0)]
    losses = preference_losses(GAINED, TOKENS, PreferenceSettings(loss="IPO", beta=0.2))
    assert losses.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_doubt_about_the_answers_pulls_the_margin_back() -> None:
    """Conservative DPO: a tenth of the rows may be the wrong way round."""
    settings = PreferenceSettings.model_validate({"beta": 0.3, "labelSmoothing": 0.1})
    expected = [0.9 * log(1 + exp(-0.3 * margin)) + 0.1 * log(1 + exp(0.3 * margin)) for margin in (3.0, -3.0)]
    losses = preference_losses(GAINED, TOKENS, settings, smoothing=settings.label_smoothing)
    assert losses.tolist() == pytest.approx(expected, abs=1e-6)


SAID = torch.tensor([[-2.0, -1.0], [-0.5, -6.0]])
"""The log-probabilities of answers as long as those of TOKENS: their means are -0.5, -0.5 and -0.5, -2."""


@pytest.mark.parametrize(("settings", "beta", "gamma"), [({}, 2, 0.5), ({"beta": 3, "gamma": 1}, 3, 1)], ids=str)
def test_simpo_wants_the_mean_of_the_chosen_tokens_to_lead_by_gamma(
    settings: dict[str, float], beta: float, gamma: float
) -> None:
    expected = [log(1 + exp(-(beta * lead - gamma))) for lead in (0.0, 1.5)]
    losses = preference_losses(SAID, TOKENS, PreferenceSettings.model_validate({"loss": "SimPO", **settings}))
    assert losses.tolist() == pytest.approx(expected, abs=1e-6)


def test_orpo_adds_the_odds_of_both_to_the_loss_of_the_chosen_one() -> None:
    """Equations 4, 6 and 7 of arXiv:2403.07691, each probability that of the mean token."""
    odds = [exp(mean) / (1 - exp(mean)) for mean in (-0.5, -0.5, -0.5, -2.0)]
    ratios = [odds[0] / odds[1], odds[2] / odds[3]]
    expected = [0.5 - 0.3 * log(ratio / (1 + ratio)) for ratio in ratios]
    losses = preference_losses(SAID, TOKENS, PreferenceSettings(loss="ORPO", beta=0.3))
    assert losses.tolist() == pytest.approx(expected, abs=1e-6)


def test_odds_of_an_answer_that_is_certain_are_finite_and_so_is_their_gradient() -> None:
    said = torch.tensor([[0.0, -1.0], [-1e-9, -1e-9], [-300.0, 0.0]], requires_grad=True)
    losses = preference_losses(said, torch.ones(3, 2), PreferenceSettings(loss="ORPO"))
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert said.grad is not None
    assert torch.isfinite(said.grad).all()


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("Sigmoid", [[1.0, -0.5], [0.0, 1.5]]),
        ("IPO", [[1.0, -0.5], [0.0, 1.5]]),
        ("SimPO", [[0.25, -0.25], [0.0, 0.5]]),
        ("ORPO", [[0.25, -0.25], [0.0, 0.5]]),
    ],
)
def test_an_answer_is_worth_what_its_loss_says(loss: str, expected: list[list[float]]) -> None:
    """The sum over the tokens, or the mean, times beta."""
    assert rewards(GAINED, TOKENS, PreferenceSettings(loss=loss, beta=0.5)).tolist() == expected


class Asked:
    """A model that answers everything alike, and counts how often it was asked."""

    device, calls = torch.device("cpu"), 0

    def __call__(self, input_ids: torch.Tensor, **_: torch.Tensor) -> Any:
        self.calls += 1
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, VOCABULARY))

    def eval(self) -> None: ...
    def train(self) -> None: ...


@pytest.mark.parametrize(("loss", "asked"), [("Sigmoid", True), ("IPO", True), ("SimPO", False), ("ORPO", False)])
def test_the_untrained_model_is_asked_only_where_the_loss_compares_with_it(
    loss: str, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "all_reduce", lambda _: None)
    model, space = Asked(), Rewards(PreferenceSettings(loss=loss))
    splits = {"train": replace(preference_rows(5), reference=None)}
    told: list[ReferenceProgress] = []
    times = iter([0.0, 4.0, 11.0, 11.0, 22.0, 22.0])
    found = with_references(
        model,
        Preference(),
        splits,
        space,
        plan=BatchPlan(5, 2, 2, 1, epochs=1),
        seed=0,
        pad_token=0,
        tell=told.append,
        clock=lambda: next(times),
    )
    assert (bool(model.calls), found["train"].reference is not None) == (asked, asked)
    sentences = ["about 5 rows of the train split", "about 4 of 5 rows of the train split"]
    assert [each.sentence.removeprefix("Asking the untrained model ") for each in told] == sentences * asked


def test_it_is_asked_only_about_rows_that_a_step_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "all_reduce", lambda _: None)
    space, rows = Rewards(PreferenceSettings()), replace(preference_rows(9), reference=None)
    asked = {
        name: with_references(
            Asked(),
            Preference(),
            {"train": rows, "test": rows},
            space,
            plan=BatchPlan(9, 3, 2, 1, epochs=1, max_steps=steps),
            seed=0,
            pad_token=0,
            tell=lambda _: None,
        )
        for name, steps in (("some", 1), ("all", None))
    }
    some, whole = asked["some"]["train"].reference, asked["all"]["train"].reference
    taken = np.sort(next(BatchPlan(9, 3, 2, 1, epochs=1).global_batches(0, seed=0)))
    assert np.flatnonzero(some.any(axis=1)).tolist() == taken.tolist()
    assert (some[taken] == whole[taken]).all()
    assert (asked["some"]["test"].reference == whole).all()


def test_a_loss_without_a_reference_needs_none_and_is_judged_without_its_doubt() -> None:
    settings = PreferenceSettings.model_validate({"loss": "SimPO", "labelSmoothing": 0.2})
    batch = collate(replace(preference_rows(3), reference=None), np.arange(3), 0, torch.device("cpu"))
    losses = Preference().losses(Asked(), batch, Rewards(settings))
    # All tokens are as likely, so the answers are worth the same, whatever their length.
    assert losses.judged.tolist() == pytest.approx([log(1 + exp(0.5))] * 3, abs=1e-5)
    assert losses.rows.tolist() == pytest.approx([0.8 * log(1 + exp(0.5)) + 0.2 * log(1 + exp(-0.5))] * 3, abs=1e-5)


def test_only_the_tokens_of_the_answers_have_probabilities() -> None:
    split = preference_rows(3)
    targets = torch.from_numpy(split.targets.padded(split, np.arange(3), int(split.longest.max())))
    logits = torch.zeros(6, targets.shape[-1], 64)
    answers = (targets >= 0).sum(dim=-1)
    batch = MicroBatch({}, targets, np.arange(3))
    found = log_probabilities(lambda: SimpleNamespace(logits=logits), batch)
    assert found.tolist() == pytest.approx((-log(64) * answers).numpy(), abs=1e-4)


def test_answers_that_are_worth_the_same_are_half_right() -> None:
    split, task, space = preference_rows(3), Preference(), Rewards(PreferenceSettings())
    targets = torch.from_numpy(split.targets.padded(split, np.arange(3), 12))
    batch = MicroBatch({}, targets, np.arange(3))
    tally = task.tally(Losses(torch.ones(3), torch.tensor([1.5, 0.0, -0.5])), batch, space)
    measured = task.measure({name: counts.double().numpy() for name, counts in tally.items()}, space)
    assert measured.metrics == pytest.approx({"loss": 1, "reward_accuracy": 0.5, "reward_margin": 1 / 3})


def test_both_answers_follow_the_prompt_in_the_models_chat_template() -> None:
    tokenizer = gpt_like(CHATML)
    row = Row(("prompt", "chosen", "rejected"), ("what is good", "the film", "the cast"), "file:///p.csv", 2)
    split = Preference().encode([row], tokenizer, 64, Rewards(PreferenceSettings())).split
    whole = [
        tokenizer.decode(split.tokens[split.offsets[part] : split.offsets[part + 1]].tolist()) for part in range(2)
    ]
    learned = split.targets.learned(split, 0, ())
    assert split.parts == ("chosen", "rejected")
    assert [text.rstrip().endswith(f"{answer}<|im_end|>") for text, answer in zip(whole, ("film", "cast"), strict=True)]
    assert tokenizer.decode(split.tokens[learned].tolist()).replace("\n", "") == "the film<|im_end|>the cast<|im_end|>"


def test_the_rate_and_the_length_are_those_of_the_task_unless_they_are_given() -> None:
    spec = spec_for("Preference").resolved
    assert (spec.training.learning_rate, spec.task.max_length) == (1e-6, 1024)
    assert spec_for("Preference", training={"learningRate": 1e-5}).resolved.training.learning_rate == 1e-5


def test_answers_that_are_the_same_are_noted() -> None:
    rows = [Row(("prompt", "chosen", "rejected"), ("a", "b", "b"), "file:///p.csv", 7)]
    (note,) = [note for note in Preference().data_notes({"train": rows}, gpt_like(CHATML)) if "rejected" in note]
    assert note.startswith("file:///p.csv, line 7: the chosen answer is the rejected one, as in 1 rows of all")
