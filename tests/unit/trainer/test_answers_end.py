"""T2, T3: a published language model stops behind its answer, whatever its base model's template and configuration say.

The templates and generation configurations are those that the field's families ship.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from kubetune_trainer.artifact.stopping import LARGEST_WEIGHTS, StopCheck
from kubetune_trainer.data.rows import Row
from kubetune_trainer.model.load import load_tokenizer
from kubetune_trainer.records import Answer
from support.by_heart import TASK, base_model, learn_by_heart
from support.chat_templates import (
    ALPACA,
    CHATML,
    END_OF_THE_NEXT_TURN,
    GEMMA,
    LLAMA_3,
    MISTRAL,
    NOT_AFTER_THE_LAST,
    PHI_3,
)
from support.tiny_tokenizers import gpt_like

ROWS = [
    Row(("prompt", "completion"), pair, "s3://data/a.csv", 2)
    for pair in [("the film", " was great"), ("the story", " is dull"), ("what cast", " a good bad film")]
]
SAMPLED = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}


@dataclass(frozen=True)
class Base:
    """A base model of the field: its tokenizer's control tokens, template and generation configuration."""

    family: str
    tokens: Sequence[str]
    eos: str
    stops: Sequence[str]
    template: str | None = None
    bos: str | None = None
    generation: dict[str, Any] = field(default_factory=dict)

    def saved(self, folder: Path) -> Path:
        tokenizer = gpt_like()
        tokenizer.chat_template = self.template
        tokenizer.add_special_tokens({"additional_special_tokens": list(self.tokens), "eos_token": self.eos})
        tokenizer.bos_token = self.bos
        stops = tokenizer.convert_tokens_to_ids(list(self.stops))
        generation = {"eos_token_id": stops if len(stops) > 1 else stops[0], **self.generation}
        return base_model(folder, self.family, tokenizer, generation)


CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
META = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>")
MICROSOFT = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>")
GOOGLE = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
FRENCH = ("<s>", "</s>", "[INST]", "[/INST]")
BASES = {
    "Qwen, base": Base("qwen2", CHAT, CHAT[0], CHAT[:1], CHATML),
    "Qwen, instruct": Base(
        "qwen2", CHAT, CHAT[2], [CHAT[2], CHAT[0]], CHATML, generation={**SAMPLED, "repetition_penalty": 1.05}
    ),
    "Llama 3, base with the template of instruct": Base("llama", META, META[1], META[1:2], LLAMA_3, META[0]),
    "Llama 3, instruct": Base("llama", META, META[5], [META[1], META[4], META[5]], LLAMA_3, META[0], SAMPLED),
    "SmolLM, instruct": Base("llama", CHAT, CHAT[2], CHAT[2:], CHATML, CHAT[1]),
    "Gemma's template": Base("llama", GOOGLE, GOOGLE[1], GOOGLE[1:2], GEMMA, GOOGLE[0]),
    "Phi 3, with the end of text alone": Base("llama", MICROSOFT, MICROSOFT[0], MICROSOFT[:1], PHI_3),
    "Mistral, instruct": Base("mistral", FRENCH, FRENCH[1], FRENCH[1:2], MISTRAL, FRENCH[0]),
    "GPT-2, without a template": Base("gpt2", CHAT[:1], CHAT[0], CHAT[:1]),
    "Llama, base": Base("llama", META[:2], META[1], META[1:2], bos=META[0]),
    "a template without an end": Base("gpt2", CHAT[:1], CHAT[0], CHAT[:1], ALPACA),
    "a template with the end only between turns": Base("llama", CHAT, CHAT[0], CHAT[:1], NOT_AFTER_THE_LAST),
    "a template whose next turn writes the end": Base("mistral", MICROSOFT, CHAT[0], CHAT[:1], END_OF_THE_NEXT_TURN),
    "a configuration that stops at a word": Base("llama", CHAT, CHAT[0], ["Ġgood"], CHATML),
    "a configuration that forbids the end": Base(
        "llama", CHAT, CHAT[0], CHAT[:1], CHATML, generation={"min_new_tokens": 12, "suppress_tokens": [0, 1, 2]}
    ),
}


@pytest.mark.filterwarnings("ignore:Using the model-agnostic default `max_length`")
@pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())
def test_a_model_that_knows_its_answers_by_heart_stops_behind_each(base: Base, tmp_path: Path) -> None:
    split = learn_by_heart(base.saved(tmp_path / "base"), tmp_path / "model", ROWS)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for row in ROWS:
        prompt = row["prompt"]
        if tokenizer.chat_template:
            messages = [{"role": "user", "content": prompt}]
            prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        inputs = tokenizer(prompt, add_special_tokens=not tokenizer.chat_template, return_tensors="pt")
        written = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
        assert len(written) < 20, "it was stopped, and did not stop"
        assert tokenizer.decode(written, skip_special_tokens=True).strip() == row["completion"].strip()
    check = StopCheck(TASK.generation.answers(split, load_tokenizer(tmp_path / "base")))
    assert [*check.configuration_errors(tmp_path / "model"), *check.ask(tmp_path / "model", AutoModelForCausalLM)] == []
    assert (check.asked, check.ended, check.note) == (3, 3, None)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StopCheck]:
    folder = tmp_path_factory.mktemp("untrained")
    split = learn_by_heart(BASES["Qwen, base"].saved(folder / "base"), folder / "model", ROWS, most_steps=0)
    return folder / "model", StopCheck(TASK.generation.answers(split, load_tokenizer(folder / "base")))


def test_a_model_that_has_not_learned_to_stop_is_noted_and_no_error(untrained: tuple[Path, StopCheck]) -> None:
    folder, check = untrained
    assert [*check.configuration_errors(folder), *check.ask(folder, AutoModelForCausalLM)] == []
    assert check.note == (
        "the published model ended none of the 3 answers of the training data that it was asked for: it has not learned"
        " to stop yet; more steps (spec.training.epochs or maxSteps) or a higher learning rate"
        " (spec.training.learningRate) may help"
    )


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"eos_token_id": 0}', "generation_config.json does not stop at the token 2, with which the model ends"),
        ("{", "generation_config.json does not load"),
    ],
    ids=["another token", "a damaged file"],
)
def test_a_published_configuration_without_the_end_is_an_error(
    untrained: tuple[Path, StopCheck], tmp_path: Path, content: str, error: str
) -> None:
    (tmp_path / "generation_config.json").write_text(content)
    (found,) = untrained[1].configuration_errors(tmp_path)
    assert found.startswith(error)


def test_a_model_that_goes_on_after_its_end_is_an_error(tmp_path: Path) -> None:
    split = learn_by_heart(BASES["Qwen, base"].saved(tmp_path / "base"), tmp_path / "model", ROWS)
    check = StopCheck(TASK.generation.answers(split, load_tokenizer(tmp_path / "base")))
    (tmp_path / "model" / "generation_config.json").write_text('{"eos_token_id": 0}')
    errors = list(check.ask(tmp_path / "model", AutoModelForCausalLM))
    assert set(errors) == {"the model goes on after the token 2, with which it ends its answers"}


def test_a_configuration_that_asks_for_several_answers_makes_no_good_model_wrong(tmp_path: Path) -> None:
    split = learn_by_heart(BASES["Qwen, base"].saved(tmp_path / "base"), tmp_path / "model", ROWS)
    file = tmp_path / "model" / "generation_config.json"
    several = {"do_sample": True, "num_return_sequences": 2, "return_dict_in_generate": True}
    file.write_text(json.dumps(json.loads(file.read_text()) | several))
    check = StopCheck(TASK.generation.answers(split, load_tokenizer(tmp_path / "base")))
    assert list(check.ask(tmp_path / "model", AutoModelForCausalLM)) == []
    assert (check.unable, check.asked) == (None, 3)


class Failing:
    """The auto class of a model that cannot be asked."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def from_pretrained(self, *_: object, **__: object) -> None:
        raise self.error


def test_a_model_that_cannot_be_asked_is_noted_and_its_training_not_lost(tmp_path: Path) -> None:
    check = StopCheck([Answer([1], [2])])
    assert list(check.ask(tmp_path, Failing(ValueError("penalty_alpha is gone. More.")))) == []
    assert check.note == (
        "the published model does not generate with its own defaults (penalty_alpha is gone), so whether it stops was"
        " not tried; correct its generation_config.json"
    )


def test_a_lack_of_memory_while_asking_says_nothing_of_the_model(tmp_path: Path) -> None:
    check = StopCheck([Answer([1], [2])])
    assert list(check.ask(tmp_path, Failing(MemoryError()))) == []
    assert check.note is None


@pytest.mark.parametrize(
    ("size", "free", "asked"),
    [(100, 300, True), (100, 299, False), (LARGEST_WEIGHTS + 1, 10 * LARGEST_WEIGHTS, False)],
    ids=["room enough", "too little memory", "too large a model"],
)
def test_a_model_is_asked_where_the_memory_suffices(size: int, free: int, *, asked: bool) -> None:
    assert StopCheck([Answer([1], [2])]).needs_weights(size, free) == asked
    assert not StopCheck().needs_weights(size, free)
