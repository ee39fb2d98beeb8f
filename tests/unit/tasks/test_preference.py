"""Preferences: their loss against its definition, and what a reward is."""

from math import exp, log

import numpy as np
import pytest
import torch

from kubetune_api.job.task_settings import PreferenceSettings
from kubetune_trainer.data.rows import Row
from kubetune_trainer.tasks.base import Losses, MicroBatch
from kubetune_trainer.tasks.preference import Preference, Rewards, log_probabilities, preference_losses
from support.tiny_models import preference_rows, spec_for
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


def test_only_the_tokens_of_the_answers_have_probabilities() -> None:
    split = preference_rows(3)
    targets = torch.from_numpy(split.targets.padded(split, np.arange(3), int(split.longest.max())))
    logits = torch.zeros(6, targets.shape[-1], 64)
    answers = (targets >= 0).sum(dim=-1)
    assert log_probabilities(logits, targets).tolist() == pytest.approx((-log(64) * answers).numpy(), abs=1e-4)


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
