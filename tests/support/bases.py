"""Tiny pretrained models as folders, each with a tokenizer of its kind, for whole runs of any task."""

from pathlib import Path
from typing import Any

from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, MBart50Tokenizer

from kubetune_api.families import FAMILIES
from kubetune_trainer.errors import RunError
from kubetune_trainer.model.families import family_of
from support.tiny_models import CONFIGS
from support.tiny_tokenizers import CHATML, bert_like, gpt_like, mbart_like, t5_like


def families_of(task: str) -> list[str]:
    """The families that can learn a task."""
    return [name for name in FAMILIES if _can_learn(name, task)]


def _can_learn(family: str, task: str) -> bool:
    try:
        family_of(family, task)
    except RunError:
        return False
    return True


def base_of(task: str, folder: Path) -> Path:
    """A model that can learn the task."""
    return base(families_of(task)[0], folder)


def base(family: str, folder: Path) -> Path:
    """A model of the family."""
    config = CONFIGS[family].__class__.from_dict(CONFIGS[family].to_dict())
    if FAMILIES[family].encoder_decoder is not None:
        kind, tokenizer = AutoModelForSeq2SeqLM, _tokenizer_of_both(family)
        # What a target may have, unless the job says less.
        config.max_position_embeddings = 192
        config.eos_token_id, config.decoder_start_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    elif FAMILIES[family].decoder:
        kind, tokenizer = AutoModelForCausalLM, gpt_like(CHATML)
    else:
        kind, tokenizer = AutoModel, bert_like()
    config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
    kind.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer_of_both(family: str) -> Any:
    return mbart_like(MBart50Tokenizer) if FAMILIES[family].languages else t5_like()
