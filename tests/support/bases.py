"""Tiny pretrained models as folders, each with a tokenizer of its kind, for whole runs of any task."""

from pathlib import Path

from transformers import AutoModel, AutoModelForCausalLM

from kubetune_api.families import FAMILIES
from kubetune_api.tasks import TASKS
from support.tiny_models import CONFIGS
from support.tiny_tokenizers import CHATML, bert_like, gpt_like


def families_of(task: str) -> list[str]:
    """The families that can learn a task."""
    row = TASKS[task]
    wanted = {"Any": (False, True), "Encoder": (False,), "Decoder": (True,)}[row.model]
    return [
        name for name, family in FAMILIES.items() if family.decoder in wanted and (family.tagger or not row.per_token)
    ]


def base_of(task: str, folder: Path) -> Path:
    """A model that can learn the task."""
    return base(families_of(task)[0], folder)


def base(family: str, folder: Path) -> Path:
    """A model of the family."""
    decoder = FAMILIES[family].decoder
    tokenizer = gpt_like(CHATML) if decoder else bert_like()
    config = CONFIGS[family].__class__.from_dict(CONFIGS[family].to_dict())
    config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
    (AutoModelForCausalLM if decoder else AutoModel).from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
