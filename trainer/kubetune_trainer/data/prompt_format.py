"""How a prompt and its completion become one text: by the model's chat template, or simply one after the other.

The template is rendered once, with placeholders for the two: a dataset's text never passes through it. Everything up to
where the model would begin to answer is the prompt; the rest, with the token that ends the answer, is the target.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubetune_trainer.data.endings import own_ending, template_ending
from kubetune_trainer.errors import RunError, invalid_model

_PROMPT, _COMPLETION, _NEXT = "KUBETUNE-PROMPT", "KUBETUNE-COMPLETION", "KUBETUNE-NEXT"
_SYSTEM = "KUBETUNE-ORDERS"
_TODAY = datetime(2024, 7, 26)
"""What a template takes for today (Llama's own default): by the real date, each day would train on other tokens."""
_DIRECTIVES = "aAbBcdDeFgGhHIjklmMnprRStTuUVwWxXyY"
"""Of strftime: all that do not depend on the time zone."""


@dataclass(frozen=True)
class PromptFormat:
    """The text around a prompt and its completion.

    `before` prompt `middle` is what the model is given; `opening` completion `after` is what it learns to write.
    """

    end: int
    """The token that ends an answer."""
    before: str = ""
    middle: str = ""
    opening: str = ""
    after: str = ""
    strips_prompt: bool = False
    """Whether the template strips the outer spaces of a prompt."""
    strips_completion: bool = False
    """Whether it strips those of a completion."""
    templated: bool = False
    """Whether the text around them may hold special tokens."""
    first_ids: tuple[int, ...] = ()
    """Tokens put before the text, where no template names them."""
    last_ids: tuple[int, ...] = ()
    """Tokens put after the text, where no template names them."""
    note: str | None = None
    """What the author of the job should know of the format, in a sentence."""

    @classmethod
    def of(cls, tokenizer: Any) -> "PromptFormat":
        """The format that the tokenizer's model was made for."""
        return _templated(tokenizer) if tokenizer.chat_template else _plain(tokenizer)

    def prompt(self, prompt: str) -> str:
        """What the model is given."""
        return "".join(self.pieces(prompt, "")[0])

    def completion(self, completion: str) -> str:
        """What the model learns to write."""
        return "".join(self.pieces("", completion)[1])

    def pieces(self, prompt: str, completion: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The same two, each as (the format's own text, the data's text, the format's own text)."""
        return (
            (self.before, prompt.strip() if self.strips_prompt else prompt, self.middle),
            (self.opening, completion.strip() if self.strips_completion else completion, self.after),
        )


def _plain(tokenizer: Any) -> PromptFormat:
    end = own_ending(tokenizer)
    begins = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return PromptFormat(end, first_ids=(tokenizer.bos_token_id,) if begins else (), last_ids=(end,))


def _templated(tokenizer: Any) -> PromptFormat:
    given = _rendered(tokenizer, [_PROMPT], add_generation_prompt=True)
    whole = _rendered(tokenizer, [_PROMPT, _COMPLETION])
    if given.count(_PROMPT) != 1 or whole.count(_PROMPT) != 1 or whole.count(_COMPLETION) != 1:
        raise _unfit("does not write a prompt and its answer once each")
    if not whole.startswith(given):
        raise _unfit(
            "does not begin a whole conversation the way it begins one that waits for the answer, so what the model"
            " would learn is not what it is asked later"
        )
    before, middle = given.split(_PROMPT)
    opening, after = whole[len(given) :].split(_COMPLETION)
    between = _next_turn(tokenizer)
    ending = template_ending(tokenizer, _user_turn(tokenizer, before, between), opening, after, between)
    return PromptFormat(
        ending.token,
        before,
        middle,
        opening,
        ending.after,
        last_ids=(ending.token,) if ending.appended else (),
        note=ending.note,
        strips_prompt=_rendered(tokenizer, [f" {_PROMPT} ", _COMPLETION]) == whole,
        strips_completion=_rendered(tokenizer, [_PROMPT, f" {_COMPLETION} "]) == whole,
        templated=True,
    )


def _next_turn(tokenizer: Any) -> str:
    """What the template writes between an answer and another prompt; nothing where it takes only one turn."""
    try:
        whole = _rendered(tokenizer, [_PROMPT, _COMPLETION, _NEXT])
    except RunError:
        return ""
    return whole.partition(_COMPLETION)[2].partition(_NEXT)[0]


def _user_turn(tokenizer: Any, before: str, between: str) -> str:
    """What begins a user's turn: `before`, less a default system turn, whose end may be that of an answer too.

    The roles are told apart by the names that the template writes for them alone, so a system turn shows how a user's
    begins; it is taken where a later turn of the user begins so indeed.
    """
    try:
        whole = _rendered(tokenizer, [_PROMPT, _COMPLETION], system=_SYSTEM)
    except RunError:
        return before
    opening = whole.partition(_SYSTEM)[0]
    turn = opening.removeprefix(tokenizer.bos_token or "")
    for role in (str.lower, str.upper, str.title):
        turn = turn.replace(role("system"), role("user"))
    return turn if turn and before.startswith(opening) and between.endswith(turn) else before


def _rendered(
    tokenizer: Any, contents: list[str], *, system: str | None = None, add_generation_prompt: bool = False
) -> str:
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    try:
        text = tokenizer.apply_chat_template(
            messages,
            chat_template=_with_fixed_date(tokenizer.get_chat_template()),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except Exception as error:  # a template is a program, and somebody else's
        raise _unfit(f"fails on a conversation of one question and one answer ({error})") from error
    assert isinstance(text, str)
    return text


def _with_fixed_date(template: str) -> str:
    """The template, with a macro that hides the clock which transformers gives it under this name."""
    spelled = [f"%{flag}{letter}" for letter in _DIRECTIVES for flag in ("", "-")]
    replaced = "".join(f"|replace({directive!r}, {_TODAY.strftime(directive)!r})" for directive in spelled)
    # The line end belongs to the tag before it, so the template begins as it would without the macro.
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n{template}"


def _unfit(error: str) -> RunError:
    return invalid_model(
        f"the model's chat template {error}; correct the template, or remove it from the model's folder to train on the"
        " prompt followed by the completion"
    )
