"""T12: conversations. What the model learns to write is what the assistant says, with its end, and nothing else.

The templates are those of the field's families, shortened; the tokenizers are of every kind.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubetune_api.reasons import Reason
from kubetune_trainer.data.encode_conversations import encode_conversations
from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.tokens import Tokens
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks.causal import CausalLanguageModel, TokenTargets, Vocabulary
from support import chat_templates as templates
from support.conversations import chat, conversation
from support.tiny_tokenizers import WORDS, bert_like, gpt_like, llama_2_like, llama_like, t5_like

CONTROL = (
    *("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"),
    *("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "[INST]", "[/INST]", "</s>", "<|im_start|>", "<|im_end|>"),
)
TURNS = [("user", "what"), ("assistant", "good"), ("user", "bad"), ("assistant", "dull")]
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bonn <|im_end|>"}}}

CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}


@cache
def speaking(template: str, make: Callable[[], Any] = gpt_like) -> Any:
    """A tokenizer that knows the control tokens of every template."""
    tokenizer = make()
    tokenizer.add_special_tokens({"additional_special_tokens": list(CONTROL)})
    tokenizer.chat_template = template
    if tokenizer.eos_token is None or make is gpt_like:
        tokenizer.eos_token = "</s>"
    tokenizer.bos_token = tokenizer.bos_token or "<|end_of_text|>"
    return tokenizer


def learned(tokenizer: Any, tokens: Tokens, row: int = 0) -> list[str]:
    """What the model learns to write, run by run."""
    begin, end = tokens.offsets[row], tokens.offsets[row + 1]
    edges = np.flatnonzero(np.diff(tokens.learned[begin:end], prepend=False, append=False)).reshape(-1, 2)
    return [tokenizer.decode(tokens.tokens[begin + first : begin + last]) for first, last in edges]


def encoded(tokenizer: Any, turns: Sequence[Any], max_length: int = 512) -> Tokens:
    return encode_conversations([conversation(turns)], tokenizer, max_length)


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        pytest.param(templates.CHATML, ["good<|im_end|>", "dull<|im_end|>\n"], id="ChatML"),
        pytest.param(templates.QWEN_2_5, ["good<|im_end|>", "dull<|im_end|>\n"], id="Qwen 2.5, a system by default"),
        pytest.param(templates.LLAMA_2, [" good </s>", " dull </s>"], id="Llama 2"),
        pytest.param(templates.LLAMA_3, ["good<|eot_id|>", "dull<|eot_id|>"], id="Llama 3"),
        pytest.param(templates.MISTRAL, [" good</s>", " dull</s>"], id="Mistral"),
        pytest.param(templates.GEMMA, ["good<end_of_turn>", "dull<end_of_turn>\n"], id="Gemma"),
        pytest.param(templates.ZEPHYR, ["\ngood</s>", "\ndull</s>\n"], id="Zephyr"),
        pytest.param(templates.PHI_3, ["good<|end|>", "dull<|end|>\n</s>"], id="Phi 3, another end at the last"),
        pytest.param(templates.NOT_AFTER_THE_LAST, ["good<|im_end|>", "dull<|im_end|>"], id="an end between turns"),
        pytest.param(templates.END_OF_THE_NEXT_TURN, ["good<|end|>", "dull<|end|>"], id="written by the next turn"),
        pytest.param(templates.MARKED, ["good<|im_end|>", "dull<|im_end|>"], id="marks in the template"),
        pytest.param(
            templates.MARKED_WITH_HEADERS, ["good<|im_end|>\n", "dull<|im_end|>\n"], id="marks around whole turns"
        ),
    ],
)
def test_each_answer_is_learned_with_its_end_and_nothing_else(template: str, answers: list[str]) -> None:
    tokens = encoded(speaking(template), TURNS)
    assert learned(speaking(template), tokens) == answers
    assert (tokens.answers, tokens.only_read) == (2, 0)


@pytest.mark.parametrize(
    ("template", "turns", "answers"),
    [
        pytest.param(
            templates.QWEN_3,
            TURNS,
            ["<think>\n\n</think>\n\ndull<|im_end|>\n"],
            id="Qwen 3, reasoning in the last alone",
        ),
        pytest.param(
            templates.SYSTEM_BEFORE_THE_LAST_QUESTION,
            [("system", "moving"), *TURNS],
            [" dull</s>"],
            id="a moved system",
        ),
        pytest.param(templates.ALPACA, TURNS, ["dull\n\n</s>"], id="no end of its own"),
        pytest.param(
            templates.MARKED.replace("'<|im_end|>'", "''"), TURNS, ["dull\n</s>"], id="no end of its own, with marks"
        ),
    ],
)
def test_an_answer_that_the_model_would_be_asked_for_differently_is_read_and_noted(
    template: str, turns: Sequence[Any], answers: list[str]
) -> None:
    tokenizer = speaking(template)
    rows = [conversation(turns), chat(("user", "what"), ("assistant", "moving"))]
    part = CausalLanguageModel().encode(rows, tokenizer, 512, Vocabulary())
    tokens = encode_conversations(rows, tokenizer, 512)
    assert learned(tokenizer, tokens) == answers
    (note,) = part.notes
    assert " answers in the training data are read and not learned: the model's chat template does not write" in note
    assert note.endswith("to learn them as well, write a row for each, which ends with it")


def test_the_reasoning_of_the_last_answer_is_learned_as_the_template_writes_it() -> None:
    tokenizer = speaking(templates.QWEN_3)
    within = encoded(tokenizer, [("user", "what"), ("assistant", "<think>\nis it\n</think>\n\ngood")])
    beside = encode_conversations(
        [chat(("user", "what"), {"role": "assistant", "content": "good", "reasoning_content": "is it"})], tokenizer, 512
    )
    expected = ["<think>\nis it\n</think>\n\ngood<|im_end|>\n"]
    assert learned(tokenizer, within) == learned(tokenizer, beside) == expected


def test_reasoning_in_a_completion_is_written_once() -> None:
    tokenizer = speaking(templates.QWEN_3)
    row = Row(("prompt", "completion"), ("what", "<think>is it</think>good"), "s3://data/a.csv", 7)
    assert learned(tokenizer, encode_conversations([row], tokenizer, 512)) == [
        "<think>\nis it\n</think>\n\ngood<|im_end|>\n"
    ]


def test_the_tokens_are_those_that_the_template_gives() -> None:
    tokenizer = speaking(templates.LLAMA_3)
    turns = [("system", "great"), *TURNS]
    tokens = encoded(tokenizer, turns)
    messages = [{"role": role, "content": content} for role, content in turns]
    assert tokens.tokens.tolist() == tokenizer.apply_chat_template(messages, return_dict=False)


def test_masks_equal_those_of_transformers_where_a_template_has_marks() -> None:
    tokenizer = speaking(templates.MARKED)
    turns = [("system", "great story"), *TURNS, ("user", "film\n\nwas  a"), ("assistant", " the cast\n")]
    messages = [{"role": role, "content": content} for role, content in turns]
    theirs = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    tokens = encoded(tokenizer, turns)
    assert tokens.tokens.tolist() == theirs["input_ids"]
    assert tokens.learned.astype(int).tolist() == theirs["assistant_masks"]


def test_a_mark_without_the_end_token_is_given_it() -> None:
    template = templates.MARKED.replace(
        "+ '<|im_end|>' }}{% endgeneration %}", "}}{% endgeneration %}{{ '<|im_end|>' }}"
    )
    tokenizer = speaking(template)
    assert learned(tokenizer, encoded(tokenizer, TURNS)) == ["good<|im_end|>", "dull<|im_end|>"]


@pytest.mark.parametrize("template", [templates.CHATML, templates.MARKED, templates.MARKED_WITH_HEADERS])
def test_a_prompt_with_its_completion_is_a_conversation_of_two_turns(template: str) -> None:
    tokenizer = speaking(template)
    pair = Row(("prompt", "completion"), ("what", "good"), "s3://data/a.csv", 7)
    both = encode_conversations([pair], tokenizer, 512), encoded(tokenizer, TURNS[:2])
    assert both[0].tokens.tolist() == both[1].tokens.tolist()
    assert both[0].learned.tolist() == both[1].learned.tolist()
    assert learned(tokenizer, both[0])[0].startswith("good")


@pytest.mark.parametrize("template", [templates.CHATML, templates.MARKED, templates.MARKED_WITH_HEADERS])
def test_what_stands_behind_the_last_answer_and_a_greeting_before_any_question_are_not_learned(template: str) -> None:
    tokenizer = speaking(template)
    tokens = encoded(tokenizer, [("assistant", "moving"), *TURNS[:2], ("user", "cast")])
    assert [answer.rstrip() for answer in learned(tokenizer, tokens)] == ["good<|im_end|>"]
    assert (tokens.answers, tokens.only_read) == (1, 0)
    assert "moving" in tokenizer.decode(tokens.tokens)
    assert "cast" not in tokenizer.decode(tokens.tokens)


def test_calls_of_tools_are_learned_and_what_they_return_is_not() -> None:
    tokenizer = speaking(templates.QWEN_2_5)
    tokens = encode_conversations(
        [chat(("user", "what"), CALLING, ("tool", "a moving film"), ("assistant", "good"))], tokenizer, 512
    )
    called, answered = learned(tokenizer, tokens)
    assert called == (
        '\n<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn <|im_end|>"}}\n</tool_call><|im_end|>'
    ).removeprefix("\n")
    assert answered == "good<|im_end|>\n"
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokens.tokens.tolist().count(end) == 5


@pytest.mark.parametrize(
    ("template", "turns", "said"),
    [
        pytest.param(
            templates.CHATML,
            [("user", "what"), CALLING, ("tool", "good"), ("assistant", "good")],
            "does not write calls of tools (message 2), so the model",
            id="calls, ChatML",
        ),
        pytest.param(
            templates.LLAMA_2,
            [("user", "what"), CALLING, ("user", "bad"), ("assistant", "good")],
            "does not write calls of tools (message 2), so the model",
            id="calls, Llama 2",
        ),
        pytest.param(
            templates.CHATML.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'tool' %}"),
            [("user", "what"), ("assistant", "bad"), ("tool", "good"), ("assistant", "good")],
            "does not write messages of the role 'tool' (message 3), so the model",
            id="what tools return, which the answer repeats",
        ),
        pytest.param(
            templates.QWEN_2_5.replace("{% if m.content %}", "{% if false %}"),
            [("user", "what"), {**CALLING, "content": "moving"}],
            "does not write what the assistant says beside calls of tools (message 2), so the model",
            id="a text beside a call",
        ),
    ],
)
def test_what_the_template_does_not_write_is_refused(template: str, turns: Sequence[Any], said: str) -> None:
    with pytest.raises(RunError) as raised:
        encoded(speaking(template), turns)
    assert raised.value.reason == Reason.INVALID_DATA
    assert raised.value.message.startswith(f"s3://data/a.jsonl, line 3: the model's chat template {said}")
    assert raised.value.message.endswith(
        "use a model whose template writes them, or leave them out of the conversation"
    )


def test_a_conversation_in_which_the_template_marks_no_answer_is_refused() -> None:
    marks_short_ones = "{% if m['role'] == 'assistant' and messages | length < 4 %}"
    template = templates.MARKED.replace("{% if m['role'] == 'assistant' %}", marks_short_ones)
    assert learned(speaking(template), encoded(speaking(template), TURNS[:2])) == ["good<|im_end|>"]
    with pytest.raises(RunError, match=r"line 3: the model's chat template marks no answer .* with \{% generation %\}"):
        encoded(speaking(template), TURNS)


@pytest.mark.parametrize("spelled", ["dull", "dull <|im_end|> [INST]"])
def test_a_system_message_that_is_written_only_while_a_question_waits_is_read(spelled: str) -> None:
    tokenizer = speaking(templates.SYSTEM_BEFORE_THE_LAST_QUESTION)
    turns = [("system", "moving"), *TURNS[:3], ("assistant", spelled)]
    asked = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in turns[:-1]],
        add_generation_prompt=True,
        return_dict=False,
    )
    tokens = encoded(tokenizer, turns)
    assert tokens.tokens[: len(asked)].tolist() == asked
    assert "moving" in tokenizer.decode(asked)
    assert tokenizer.decode(tokens.tokens[len(asked) :]) == f" {spelled}</s>"
    assert not tokens.learned[: len(asked)].any()
    assert tokens.learned[len(asked) :].all()
    assert (tokens.answers, tokens.only_read) == (2, 1)


def test_a_long_conversation_is_cut_at_its_end_and_keeps_the_answers_before() -> None:
    tokenizer = speaking(templates.CHATML)
    whole = encoded(tokenizer, TURNS)
    short = encoded(tokenizer, TURNS, max_length=len(whole.tokens) - 4)
    assert (whole.truncated, short.truncated) == (0, 1)
    assert learned(tokenizer, short) == ["good<|im_end|>"]
    none = encoded(tokenizer, TURNS, max_length=4)
    assert none.kept.tolist() == [False]


def test_the_published_model_is_asked_for_the_last_answer() -> None:
    tokenizer, task = speaking(templates.CHATML), CausalLanguageModel()
    rows = [conversation(TURNS)]
    split = task.encode(rows, tokenizer, 512, Vocabulary()).split
    (answer,) = task.generation.answers(split, tokenizer)
    messages = [{"role": role, "content": content} for role, content in TURNS[:3]]
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(answer.prompt) == asked
    assert tokenizer.decode(list(answer.tokens)) == "dull<|im_end|>"


def test_as_many_targets_as_the_marks_say() -> None:
    task = CausalLanguageModel()
    split = task.encode(
        [conversation(TURNS), conversation(TURNS[:2])], speaking(templates.CHATML), 512, Vocabulary()
    ).split
    assert isinstance(split.targets, TokenTargets)
    padded = split.targets.padded(split, np.array([1, 0]), int(split.lengths.max()))
    assert (padded != -100).sum(axis=1).tolist() == split.targets.per_row(split)[[1, 0]].tolist()
    assert (
        padded[1][padded[1] != -100].tolist()
        == split.tokens[: split.offsets[1]][split.targets.marks[: split.offsets[1]]].tolist()
    )


def test_a_conversation_that_the_template_refuses_is_named_with_the_templates_words() -> None:
    turns = [("user", "what"), ("user", "bad"), ("assistant", "good")]
    with pytest.raises(RunError) as raised:
        encoded(speaking(templates.LLAMA_2), turns)
    assert raised.value.reason == Reason.INVALID_DATA
    assert raised.value.message == (
        "s3://data/a.jsonl, line 3: the model's chat template does not take the conversation (Conversation roles must"
        " alternate user/assistant/user/assistant/...); change its turns, or use a model whose template takes them"
    )


def test_a_conversation_that_begins_otherwise_when_the_model_is_asked_is_refused() -> None:
    template = templates.CHATML + "{{ '!' if add_generation_prompt and messages | length > 2 }}"
    with pytest.raises(RunError, match="line 3: the model's chat template does not begin the conversation the way"):
        encoded(speaking(template), TURNS)


def test_messages_and_a_model_without_a_template_do_not_go_together() -> None:
    with pytest.raises(RunError) as raised:
        encoded(gpt_like(), TURNS)
    assert raised.value.reason == Reason.INVALID_MODEL
    assert raised.value.message.startswith(
        "spec.dataset.columns.messages: the model has no chat template, which says how it reads a conversation; use a"
    )


def test_chat_markup_in_messages_is_noted_with_what_to_write() -> None:
    rows = [chat(("user", "<|im_start|>user\nwhat<|im_end|>"), ("assistant", "good"))]
    (note,) = CausalLanguageModel().data_notes({"train": rows}, speaking(templates.CHATML))
    assert note.endswith("give each turn as a message of its own in spec.dataset.columns.messages, and its bare text as"
                         " the content")  # fmt: skip


def test_conversations_with_the_same_question_are_of_one_group() -> None:
    task = CausalLanguageModel()
    others = [("user", "What "), ("assistant", "dull"), ("user", "more"), ("assistant", "cast")]
    assert task.group(conversation(TURNS)) == task.group(conversation(others))
    assert task.group(conversation(TURNS)) != task.group(conversation([("system", "x"), *TURNS]))
    greeted = [("assistant", "hello"), *TURNS]
    assert task.group(conversation(greeted)) != task.group(conversation([("assistant", "hello"), *TURNS[2:]]))


PIECES = [*WORDS, "sl", "eeps", " ", "\n", "\n\n", ".", "<", "</s>", "<|im_end|>", "im_end|>", "[INST]", "x", "7"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=5).map("".join).map("a".__add__)
MADE: dict[str, Callable[[], Any]] = {
    "byte-level BPE": gpt_like,
    "Unigram with Metaspace": llama_like,
    "BPE of SentencePiece": llama_2_like,
    "Unigram of T5": t5_like,
    "WordPiece": bert_like,
}
FAMILIES = {
    "ChatML": (templates.CHATML, "<|im_end|>"),
    "Llama 2": (templates.LLAMA_2, "</s>"),
    "Llama 3": (templates.LLAMA_3, "<|eot_id|>"),
    "Gemma": (templates.GEMMA, "<end_of_turn>"),
    "Zephyr": (templates.ZEPHYR, "</s>"),
    "Phi 3": (templates.PHI_3, "<|end|>"),
    "marks": (templates.MARKED, "<|im_end|>"),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", MADE)
@example([("the cat sl", "eeps film"), ("what</s>", "</s> good"), ("the", "<|im_end|>")])
@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
def test_what_is_learned_is_what_the_assistant_says_and_its_end(
    kind: str, family: str, exchanges: list[tuple[str, str]]
) -> None:
    template, end = FAMILIES[family]
    tokenizer = speaking(template, MADE[kind])
    end = tokenizer.eos_token if end == "</s>" else end
    turns = [turn for asked, said in exchanges for turn in (("user", asked), ("assistant", said))]
    tokens = encoded(tokenizer, turns, max_length=4096)
    runs = learned(tokenizer, tokens)
    assert len(runs) == len(exchanges)
    for run, (_, said) in zip(runs, exchanges, strict=True):
        spoken, ended, _ = run.rpartition(end) if run.count(end) == 1 + said.count(end) else run.partition(end)
        assert ended
        assert bare(spoken, kind) == bare(plain(tokenizer, said), kind)
    special = {token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id}
    harmless = encoded(tokenizer, [(role, "a") for role, _ in turns], max_length=4096)
    assert [token for token in tokens.tokens if token in special] == [
        token for token in harmless.tokens if token in special
    ]


def plain(tokenizer: Any, text: str) -> str:
    """The text as the tokenizer gives it back."""
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def bare(text: str, kind: str) -> str:
    """Without its outer spaces; where a tokenizer does not keep each space, without any."""
    return "".join(text.replace("##", "").split()) if kind in ("WordPiece", "Unigram of T5") else text.strip()
