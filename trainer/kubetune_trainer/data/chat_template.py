"""A conversation as the model's chat template writes it. A template is a program, and somebody else's."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from kubetune_trainer.data.conversation import Message

_TODAY = datetime(2024, 7, 26)
"""What a template takes for today (Llama's own default): by the real date, each day would train on other tokens."""
_DIRECTIVES = "aAbBcdDeFgGhHIjklmMnprRStTuUVwWxXyY"
"""Of strftime: all that do not depend on the time zone."""
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class TemplateError(Exception):
    """What the template says against a conversation."""


def rendered(tokenizer: Any, messages: Sequence[Message], *, asking: bool = False) -> str:
    """The conversation as text; `asking`: with what the template writes where the model is to answer."""
    try:
        text = tokenizer.apply_chat_template(
            list(messages),
            chat_template=_with_fixed_date(tokenizer.get_chat_template()),
            tokenize=False,
            add_generation_prompt=asking,
        )
    except Exception as error:
        raise TemplateError(str(error)) from error
    assert isinstance(text, str)
    return text


def marks_answers(tokenizer: Any) -> bool:
    """Whether the template itself says what the assistant writes: by the tag `generation` of transformers."""
    return _GENERATION.search(tokenizer.get_chat_template()) is not None


def rendered_with_answers(tokenizer: Any, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
    """The conversation as text, and where the template marks what the assistant writes, in characters."""
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        (text,), (spans,) = render_jinja_template(
            [list(messages)],
            chat_template=_with_fixed_date(tokenizer.get_chat_template()),
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
    except Exception as error:
        raise TemplateError(str(error)) from error
    return text, spans


@lru_cache
def _with_fixed_date(template: str) -> str:
    """The template, with a macro that hides the clock which transformers gives it under this name."""
    spelled = [f"%{flag}{letter}" for letter in _DIRECTIVES for flag in ("", "-")]
    replaced = "".join(f"|replace({directive!r}, {_TODAY.strftime(directive)!r})" for directive in spelled)
    # The line end belongs to the tag before it, so the template begins as it would without the macro.
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n{template}"
