"""T2, T3, T12: the token that ends an answer, and prompts that bring chat markup of their own."""

from typing import Any

import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.data.encode_conversations import encode_conversations
from kubetune_trainer.data.endings import stop_tokens
from kubetune_trainer.data.prompt_format import PromptFormat
from kubetune_trainer.data.rows import Row
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks.causal import CausalLanguageModel
from support.chat_templates import (
    ALPACA,
    BETWEEN_TURNS,
    CHATML,
    END_OF_THE_NEXT_TURN,
    GEMMA,
    LLAMA_3,
    MISTRAL,
    NOT_AFTER_THE_LAST,
    PHI_3,
    ROLES_ALONE,
)
from support.tiny_tokenizers import gpt_like, llama_like

CONTROL = (
    *("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "[INST]", "[/INST]", "</s>"),
)


def tokenizer_with(template: str | None, eos: str = "<|endoftext|>") -> Any:
    tokenizer = gpt_like()
    tokenizer.add_special_tokens({"additional_special_tokens": list(CONTROL)})
    tokenizer.chat_template, tokenizer.eos_token, tokenizer.bos_token = template, eos, "<|end_of_text|>"
    return tokenizer


def asking(prompt: str, completion: str, line: int = 7) -> Row:
    return Row(("prompt", "completion"), (prompt, completion), "s3://data/a.csv", line)


def learned(tokenizer: Any, completion: str = "good") -> str:
    """What the model learns to write behind a completion, with it."""
    tokens = encode_conversations([asking("what", completion)], tokenizer, 512)
    text = tokenizer.decode(tokens.tokens[tokens.learned])
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(
    ("template", "end", "target"),
    [
        pytest.param(CHATML, "<|im_end|>", "good<|im_end|>\n", id="ChatML"),
        pytest.param(LLAMA_3, "<|eot_id|>", "good<|eot_id|>", id="Llama 3"),
        pytest.param(GEMMA, "<end_of_turn>", "good<end_of_turn>\n", id="Gemma"),
        pytest.param(PHI_3, "<|end|>", "good<|end|>\n<|endoftext|>", id="Phi 3, two of them"),
        pytest.param(MISTRAL, "<|endoftext|>", " good<|endoftext|>", id="Mistral, its eos_token"),
        pytest.param(NOT_AFTER_THE_LAST, "<|im_end|>", "good<|im_end|>", id="only between turns"),
        pytest.param(BETWEEN_TURNS, "<|im_end|>", "good<|im_end|>", id="only between turns, behind a default turn"),
        pytest.param(ROLES_ALONE, "<|endoftext|>", "good\n<|endoftext|>", id="none, behind a default turn"),
        pytest.param(END_OF_THE_NEXT_TURN, "<|end|>", "good<|end|>", id="written by the next turn"),
        pytest.param(ALPACA, "<|endoftext|>", "good\n\n<|endoftext|>", id="none"),
        pytest.param(None, "<|endoftext|>", "good<|endoftext|>", id="no template"),
    ],
)
def test_an_answer_is_trained_to_end_with_the_token_that_ends_it(template: str | None, end: str, target: str) -> None:
    tokenizer = tokenizer_with(template)
    assert PromptFormat.of(tokenizer).end == tokenizer.convert_tokens_to_ids(end)
    assert learned(tokenizer) == target


@pytest.mark.parametrize("template", [CHATML, LLAMA_3, GEMMA, PHI_3, MISTRAL])
def test_a_template_that_ends_its_answers_needs_no_note(template: str) -> None:
    assert PromptFormat.of(tokenizer_with(template)).note is None


@pytest.mark.parametrize(
    ("template", "note"),
    [
        (
            ALPACA,
            "the model's chat template ends an answer with no token of its own; every answer is trained to end with the"
            " tokenizer's eos_token '<|endoftext|>', and the published model stops there",
        ),
        (
            NOT_AFTER_THE_LAST,
            "the model's chat template writes '<|im_end|>' behind an answer only where another turn follows; every"
            " answer is trained to end with it, and the published model stops there",
        ),
    ],
    ids=["no end", "an end between turns"],
)
def test_a_mended_template_is_noted(template: str, note: str) -> None:
    notes = CausalLanguageModel().data_notes({"train": [asking("what", "good")]}, tokenizer_with(template))
    assert list(notes) == [note]


def test_a_token_that_begins_the_next_turn_does_not_end_the_answer() -> None:
    template = END_OF_THE_NEXT_TURN.replace("<|end|>", "\\n")
    assert PromptFormat.of(tokenizer_with(template)).end == tokenizer_with(None).eos_token_id


def test_an_end_that_the_vocabulary_does_not_have_as_a_token_is_mended() -> None:
    tokenizer = llama_like(CHATML)
    form = PromptFormat.of(tokenizer)
    assert (form.end, form.last_ids) == (tokenizer.eos_token_id, (tokenizer.eos_token_id,))
    assert form.note is not None


def test_a_token_without_the_mark_of_a_special_one_ends_an_answer_and_no_text_becomes_it() -> None:
    tokenizer = gpt_like()
    tokenizer.add_tokens(["<|stop|>"])
    tokenizer.chat_template = CHATML.replace("<|im_end|>", "<|stop|>")
    stop = tokenizer.convert_tokens_to_ids("<|stop|>")
    assert PromptFormat.of(tokenizer).end == stop
    tokens = encode_conversations([asking("what", "go<|stop|>od")], tokenizer, 512)
    assert tokens.tokens[tokens.learned].tolist().count(stop) == 1
    assert learned(tokenizer, "go<|stop|>od") == "go<|stop|>od<|stop|>\n"


def test_an_end_that_stands_before_the_answer_is_refused() -> None:
    template = "{% for m in messages %}{{ '<|endoftext|>' if m['role'] == 'assistant' }}{{ m['content'] }}{% endfor %}"
    with pytest.raises(RunError, match=r"writes '<\|endoftext\|>' before an answer and no other") as raised:
        PromptFormat.of(tokenizer_with(template))
    assert raised.value.reason == Reason.INVALID_MODEL


def test_a_template_without_an_end_and_a_tokenizer_without_one_are_refused() -> None:
    tokenizer = tokenizer_with(ALPACA)
    tokenizer.eos_token = None
    with pytest.raises(RunError, match=r"has no end-of-sequence token \(eos_token\)") as raised:
        PromptFormat.of(tokenizer)
    assert raised.value.reason == Reason.INVALID_MODEL


def test_the_model_also_stops_where_the_pretrained_one_did_but_at_no_word_of_an_answer() -> None:
    tokenizer = tokenizer_with(LLAMA_3)
    end, of_text = tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<|end_of_text|>"])
    word, header = tokenizer.convert_tokens_to_ids(["Ġgood", "<|start_header_id|>"])
    tokenizer.bos_token = None
    assert stop_tokens(tokenizer, end, "", [of_text]) == [of_text, end]
    assert stop_tokens(tokenizer, end, "", [end, of_text]) == [end, of_text]
    assert stop_tokens(tokenizer, end, "", [word, 99_999]) == [end]
    assert stop_tokens(tokenizer, end, "<|start_header_id|>", [header]) == [end]


MARKED_UP = "<|im_start|>user\nsum 0 and 1<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("template", "where"),
    [(CHATML, "inside the model's own chat template"), (None, "not as control tokens")],
    ids=["a model with a template", "a model without one"],
)
def test_prompts_in_chat_markup_are_counted_and_the_first_is_named(template: str | None, where: str) -> None:
    rows = [asking("what", "good", 2), asking(MARKED_UP, "1<|im_end|>", 3), asking("[INST] what [/INST]", "bad", 4)]
    (note,) = CausalLanguageModel().data_notes({"train": rows}, tokenizer_with(template))
    assert note == (
        "s3://data/a.csv, line 3: the text already is in chat markup ('<|im_start|>'), as 2 rows of 3 are; it is"
        f" trained as plain letters, {where}; give the bare question in spec.dataset.columns.prompt and the bare answer"
        " in spec.dataset.columns.completion"
    )


def test_the_markup_of_the_models_own_template_is_known_too() -> None:
    tokenizer = tokenizer_with(CHATML.replace("<|im_start|>", "<|end|>"))
    (note,) = CausalLanguageModel().data_notes({"train": [asking("<|end|>user\nwhat", "good")]}, tokenizer)
    assert "chat markup ('<|end|>'), as 1 row of 1 is" in note


def test_a_bare_question_is_not_taken_for_markup() -> None:
    rows = [asking("What is <b>[1]</b> in a list [INST?", "user: <a> | end")]
    assert list(CausalLanguageModel().data_notes({"train": rows}, tokenizer_with(CHATML))) == []
