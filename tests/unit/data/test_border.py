"""T6: what is trained, decoded, is the prompt with its completion, wherever the border between the two falls."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders

from kubetune_trainer.data.encode_conversations import encode_conversations
from kubetune_trainer.data.prompt_format import PromptFormat
from kubetune_trainer.data.rows import Row
from support.tiny_tokenizers import CHATML, WORDS, bert_like, gpt_like, llama_2_like, llama_like, t5_like

INSTRUCTIONS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
LOSSLESS: dict[str, Callable[[], Any]] = {
    "byte-level BPE": gpt_like,
    "byte-level BPE with a first space": lambda: gpt_like(add_prefix_space=True),
    "byte-level BPE with ChatML": lambda: gpt_like(CHATML),
    "Unigram with Metaspace": llama_like,
    "Unigram with Metaspace and a template": lambda: llama_like(INSTRUCTIONS),
    "BPE of SentencePiece": llama_2_like,
    "BPE of SentencePiece with a template": lambda: llama_2_like(INSTRUCTIONS),
}
WITHOUT_SPACES: dict[str, Callable[[], Any]] = {"Unigram of T5": t5_like, "WordPiece": lambda: ending(bert_like())}
"""Tokenizers that do not keep each space: the words and their order are all that can be held."""

made = cache(lambda name: (LOSSLESS | WITHOUT_SPACES)[name]())


def ending(tokenizer: Any) -> Any:
    tokenizer.eos_token = "[SEP]"
    tokenizer.backend_tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


SPACED = {
    "byte-level BPE with a first space": ("", " "),
    "BPE of SentencePiece with a template": ("<s>[INST]", "<s> [INST]"),
}
"""The one space that a tokenizer itself puts before a text, or behind a special token."""
ASCII_PIECES = [*WORDS, "sl", "eeps", "t", "he", "7", "7 films", " ", "  ", "\n", "\n\n", ".", "'s", "<", "</s>", "<s>"]
PIECES = [*ASCII_PIECES, "<|im_end|>", "<|endoftext|>", "im_end|>", "[SEP]", "x", "q", "[INST]"]
BEYOND_ASCII = ["ü", "e\u0301", "\u0301", "一", "😀", "👩\u200d👩", "\u200d"]
IN_ASCII = ("Unigram with Metaspace", "Unigram with Metaspace and a template")
"""Those whose vocabulary has no more than ASCII, and no bytes to fall back to."""


def texts(pieces: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=6).map("".join)


def ascii_only(text: str) -> str:
    return text.encode("ascii", "ignore").decode()


def trained(tokenizer: Any, prompt: str, completion: str) -> tuple[str, str]:
    """What the model is given and learns to write, decoded; without the tokens that belong to no text."""
    row = Row(("prompt", "completion"), (prompt, completion), "s3://data/a.csv", 7)
    tokens, form = encode_conversations([row], tokenizer, 512), PromptFormat.of(tokenizer)
    ids = tokens.tokens.tolist()
    own = ids[len(form.first_ids) : len(ids) - len(form.last_ids)]
    return decoded(tokenizer, own[: int(tokens.learned.argmax()) - len(form.first_ids)]), decoded(tokenizer, own)


def as_texts(tokenizer: Any, prompt: str, completion: str) -> tuple[str, str]:
    """What the model is given, and that with its answer."""
    if not tokenizer.chat_template:
        return prompt, prompt + completion
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
    asked = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    return asked, tokenizer.apply_chat_template(messages, tokenize=False)


def decoded(tokenizer: Any, ids: list[int]) -> str:
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("name", LOSSLESS)
@example("the cat sl", "eeps film")
@example("the cat ", "sleeps")
@example("the", " ")
@example("t", "he film")
@example("the </s>", "</s> film")
@example("is it good?\n", "\n\nbad")
@example("good 👩", "\u200d👩 bad")
@settings(max_examples=60, deadline=None)
@given(texts([*PIECES, *BEYOND_ASCII]).map("a".__add__), texts([*PIECES, *BEYOND_ASCII]))
def test_what_is_trained_is_the_prompt_and_the_completion(name: str, prompt: str, completion: str) -> None:
    if name in IN_ASCII:
        prompt, completion = ascii_only(prompt), ascii_only(completion)
    tokenizer = made(name)
    if not (tokenizer.chat_template or completion):
        return
    given_text, whole = as_texts(tokenizer, prompt, completion)
    spaced = SPACED.get(name, ("", ""))
    assert trained(tokenizer, prompt, completion) == (given_text.replace(*spaced, 1), whole.replace(*spaced, 1))


@pytest.mark.parametrize("name", WITHOUT_SPACES)
@example("the cat sl", "eeps film")
@example("the cat ", "sleeps")
@example("the </s> ", " [SEP] film")
@settings(max_examples=60, deadline=None)
@given(texts(PIECES).map("a".__add__), texts(PIECES))
def test_the_words_are_trained_whole_where_a_tokenizer_drops_spaces(name: str, prompt: str, completion: str) -> None:
    tokenizer = made(name)
    if not completion.strip():
        return
    text = decoded(
        tokenizer, tokenizer(prompt + completion, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    )
    assert words(trained(tokenizer, prompt, completion)[1], name) == words(text, name)


def words(text: str, name: str) -> list[str]:
    """WordPiece is decoded with a space beside each sign."""
    return text.split() if name == "Unigram of T5" else list("".join(text.split()))


@pytest.mark.parametrize("name", WITHOUT_SPACES)
def test_a_word_over_the_border_stays_one_word(name: str) -> None:
    assert trained(made(name), "the cat sl", "eeps film") == ("the cat sl", "the cat sleeps film")
