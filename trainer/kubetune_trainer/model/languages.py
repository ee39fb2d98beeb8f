"""Languages of a model that has a token for each: one is in every text that it reads or writes.

mBART-50 puts it before a text, mBART behind it; the model's own tokenizer knows, for the two languages that it is told.
"""

from collections.abc import Mapping
from typing import Any

from kubetune_api.families import FAMILIES
from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.errors import invalid_model

_FIELD = "spec.task.seq2Seq.{}"
_FIELDS = ("sourceLanguage", "targetLanguage")


def refuse_languages(model_type: str, spec: FineTuneJobSpec) -> None:
    """RunError where languages are named for a model that has no tokens for them, or are not where it has."""
    named, needed = spec.task.languages is not None, FAMILIES[model_type].languages
    if named and not needed:
        raise invalid_model(
            f"{_FIELD.format(_FIELDS[0])}: a model of type '{model_type}' has no codes of languages; remove"
            f" {' and '.join(_FIELDS)}"
        )
    if needed and not named:
        raise invalid_model(
            f"{_FIELD.format(_FIELDS[0])}: a model of type '{model_type}' needs the languages of sources and targets;"
            f" set {' and '.join(_FIELDS)} to its codes, such as en_XX and de_DE"
        )


def set_languages(tokenizer: Any, languages: tuple[str, str]) -> None:
    """Has the tokenizer mark sources and targets, now and where it is published."""
    codes = getattr(tokenizer, "lang_code_to_id", None)
    if not codes:
        raise invalid_model(
            "spec.model.uri: the tokenizer has no codes of languages; tokenizer_class in tokenizer_config.json must be"
            " the model's own, such as MBart50Tokenizer"
        )
    for field, language in zip(_FIELDS, languages, strict=True):
        if language not in codes:
            raise invalid_model(
                f"{_FIELD.format(field)}: the model has no language {language}; it has {', '.join(sorted(codes))}"
            )
    tokenizer.src_lang, tokenizer.tgt_lang = languages


def target_language(tokenizer: Any) -> int | None:
    """The token that marks a target; None where the tokenizer marks no language."""
    language = getattr(tokenizer, "tgt_lang", None)
    return None if language is None else int(tokenizer.convert_tokens_to_ids(language))


def beginning(tokenizer: Any) -> Mapping[str, int | None]:
    """How an answer begins, in the settings of transformers' `GenerationConfig`; nothing where no language is marked.

    These models begin with the token that ends a target, as they do in training: its language where that is behind it.
    """
    language = target_language(tokenizer)
    if language is None:
        return {}
    tokens = tokenizer(text_target="a")["input_ids"]
    return {"decoder_start_token_id": tokens[-1], "forced_bos_token_id": language if tokens[0] == language else None}
