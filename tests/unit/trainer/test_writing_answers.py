"""How a model is asked for answers: padded where it goes on, greedily, for no longer than it may."""

import pytest
import torch
from transformers import GenerationConfig

from kubetune_trainer.tasks.causal import Completions
from kubetune_trainer.tasks.seq2seq import SequenceTargets, Writing
from kubetune_trainer.training.write import _greedy, _padded
from support.tiny_models import PAD, completion_rows, tiny_model, written_rows


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_row_has_the_same_answer_beside_a_longer_one(family: str) -> None:
    model = tiny_model(family, labels=None).eval()
    short, long = [5, 6, 7], [8, 9, 10, 11, 12, 13]
    answers = []
    for prompts in ([short], [short, long]):
        inputs = _padded(prompts, model.config, PAD, torch.device("cpu"))
        out = model.generate(**inputs, generation_config=_greedy(model.generation_config, 6))
        before = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        answers.append(out[0, before:].tolist())
    first = len(answers[0])
    assert answers[1][:first] == answers[0]


def test_what_the_model_samples_by_has_no_effect() -> None:
    given = GenerationConfig(do_sample=True, num_beams=4, eos_token_id=[2, 5], pad_token_id=0, max_new_tokens=999)
    greedy = _greedy(given, 7)
    assert (greedy.do_sample, greedy.num_beams, greedy.max_new_tokens) == (False, 1, 7)
    assert greedy.eos_token_id == [2, 5]


def test_a_decoder_is_asked_for_the_last_answer_with_all_that_stands_before() -> None:
    split = completion_rows(5)
    asked = Completions().asked(split, 3)
    whole = split.tokens[split.offsets[3] : split.offsets[4]].tolist()
    assert [*asked.prompt, *asked.tokens] == whole
    assert len(asked.tokens) == split.targets.per_row(split)[3]


def test_an_encoder_reads_the_source_alone() -> None:
    split = written_rows(5)
    assert isinstance(split.targets, SequenceTargets)
    asked = Writing().asked(split, 3)
    assert list(asked.prompt) == split.tokens[split.offsets[3] : split.offsets[4]].tolist()
    assert list(asked.tokens) == split.targets.of(3).tolist()
