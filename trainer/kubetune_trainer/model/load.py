"""From a folder of model files to a model with the head of its task. Safetensors only, never remote code."""

import logging
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from kubetune_api import text
from kubetune_api.families import FAMILIES, Family
from kubetune_api.job import FineTuneJobSpec, Model
from kubetune_trainer.errors import RunError, invalid_model
from kubetune_trainer.model.base_names import base_names
from kubetune_trainer.model.families import family_of
from kubetune_trainer.model.fit import head_left_behind, is_pooler, new_tensors, other_head, refuse_misfit
from kubetune_trainer.model.generation import generation_settings
from kubetune_trainer.model.languages import beginning, set_languages
from kubetune_trainer.model.numbers import buffers_in_32_bits, weights_as
from kubetune_trainer.model.stops import teach_to_stop
from kubetune_trainer.model.task import ModelTask
from kubetune_trainer.storage.adapters import adapter_settings
from kubetune_trainer.storage.configs import QUANTISATION, quantisation
from kubetune_trainer.storage.models import ADAPTER_FOLDER

_STUMBLES = (ImportError, LookupError, AttributeError, TypeError, ValueError)
"""What transformers raises over a configuration that it cannot follow; a lack of memory or of disk is none of these."""
_DROPOUT = re.compile(r"(?<!layer)(dropout|pdrop)(_rate|_prob)?$")
"""How configurations name their dropouts; what leaves out whole layers is none."""
_log = logging.getLogger(__name__)
_SAFETY = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True)
class LoadedModel:
    """A pretrained model with the head of its task."""

    model: PreTrainedModel
    family: Family
    base_names: dict[str, str]
    """For each tensor that came from the pretrained model: its name in the pretrained files, where it has one there."""
    use_cache: bool | None
    """The pretrained configuration's wish to keep keys and values, off while training; None for an encoder."""
    notes: tuple[str, ...]
    """What was changed in the model's configuration, in sentences for who uses the trained model."""
    folder: Path
    """The pretrained files."""
    source: Model
    """Where those are from: the manifest's model, or the base of the adapter that it names."""
    adapter: Path | None = None
    """The folder of the adapter to train on."""
    head_is_new: bool = False
    """Whether no head that came with the model is trained further."""

    def save_settings(self, folder: Path) -> None:
        """Writes the configuration without weights in Hugging Face format."""
        if self.use_cache is not None:
            self.model.config.use_cache = self.use_cache
        self.model.config.architectures = [type(self.model).__name__]
        self.model.config.save_pretrained(folder)
        if self.model.can_generate():
            self.model.generation_config.save_pretrained(folder)

    def save(self, folder: Path, state: dict[str, torch.Tensor]) -> None:
        """Writes the weights `state` and the configuration in Hugging Face format; empties `state` of tied names."""
        if self.use_cache is not None:
            self.model.config.use_cache = self.use_cache
        # Under the model's own names, also where the pretrained files had older ones.
        self.model.save_pretrained(folder, state_dict=state, save_original_format=False)


def load_config(folder: Path, spec: FineTuneJobSpec) -> PretrainedConfig:
    """The configuration of the pretrained model, refused where the task or the family does not fit."""
    with _loading("config.json", Exception):
        raw, _ = PretrainedConfig.get_config_dict(folder, local_files_only=True)
        # Before transformers sees it: an unknown type would make it speak of upgrades and remote code.
        family = family_of(str(raw.get("model_type")), spec.task.type)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        # The model cannot be built with it, or keeps another token from learning. The tokenizer's takes its place, but
        # where positions are counted from it, the family's own must stay.
        config.pad_token_id = family.position_offset - 1 if family.position_offset else None
    if spec.training.dropout is not None:
        _set_dropout(config, spec.training.dropout)
    return config


@contextmanager
def _loading(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Makes an error of any of these kinds the model's."""
    try:
        yield
    except RunError:
        raise
    except kinds as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise invalid_model(f"spec.model.uri: {what} does not load: {said}") from error


def load_tokenizer(folder: Path, languages: tuple[str, str] | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer, with a padding token, and with the languages of sources and targets where the job names them."""
    with _loading("the tokenizer", Exception):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise invalid_model("spec.model.uri: the tokenizer has neither a padding nor an end-of-text token")
        tokenizer.pad_token = tokenizer.eos_token
    if languages is not None:
        set_languages(tokenizer, languages)
    return tokenizer


def check_vocabulary(config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    """RunError where the tokenizer gives tokens that the model has no embedding for."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise invalid_model(
            f"spec.model.uri: the tokenizer numbers its tokens up to {largest}, but config.json gives the model a"
            f" vocab_size of {config.vocab_size}; check that the tokenizer belongs to these weights"
        )


def longest_sequence(config: PretrainedConfig, wanted: int) -> int:
    """The greatest length in tokens: what the job wants, or what the model can, whichever is less."""
    limit = getattr(config, "max_position_embeddings", None)
    return wanted if limit is None else min(wanted, limit - FAMILIES[config.model_type].position_offset)


def load_model(
    folder: Path,
    spec: FineTuneJobSpec,
    task: ModelTask,
    space: Any,
    tokenizer: PreTrainedTokenizerFast,
    *,
    numbers: bool = True,
    dtype: torch.dtype | None = torch.float32,
) -> LoadedModel:
    """The pretrained model, with the head of its task.

    `space` is what the head answers, by the task's own account.
    A new head's weights come from torch's global generator: seed it before, alike on every rank.
    Without `numbers` it is on torch's meta device, which holds shapes alone, and is judged all the same.
    `dtype` is that of the pretrained weights, None as the files have them. New ones are in 32 bits.
    """
    config = load_config(folder, spec)
    family = FAMILIES[config.model_type]
    packing = _unpacked(config)
    renewed, came_with = task.new_head and not task.fits_head(config, space), other_head(config)
    task.configure(config, space)
    model, info, left_out = _from_files(folder, config, task, dtype, numbers=numbers)
    _keep_sinusoids(model, family)
    new = _without_unread(model, new_tensors(model, info, head_may_be_new=task.new_head))
    refuse_misfit(model, info, head_is_new=renewed)
    if renewed:
        new |= _renew_head(model, family, already_new=new)
    use_cache = _prepare_config(model, tokenizer, family, task, space)
    notes = (*packing, *(_note(left_out) if model.can_generate() else ()), *(came_with(model) if renewed else ()))
    named = base_names(model, family, folder, new)
    _tell_of_copies(model, new | named.keys())
    loaded = LoadedModel(model, family, named, use_cache, notes, folder, spec.model, head_is_new=renewed)
    if not (adapter := folder / ADAPTER_FOLDER).is_dir():
        return loaded
    notes += head_left_behind(model, adapter) if renewed else ()
    return replace(loaded, notes=notes, adapter=adapter, source=adapter_settings(spec.model.uri, adapter).base)


def _from_files(
    folder: Path, config: PretrainedConfig, task: ModelTask, dtype: torch.dtype | None, *, numbers: bool
) -> tuple[Any, dict[str, Any], tuple[str, ...]]:
    """The model, what transformers tells of its loading, and the settings for generation that are left out."""
    with _loading("the model", *_STUMBLES), weights_as(dtype):
        generation, left_out = generation_settings(folder)
        model, info = task.model_class().from_pretrained(
            folder,
            config=config,
            generation_config=generation,
            dtype=torch.float32,
            **_SAFETY,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **({} if numbers else {"device_map": "meta"}),
        )
    buffers_in_32_bits(model)
    return model, info, left_out


def _tell_of_copies(model: PreTrainedModel, others: Collection[str]) -> None:
    """Logs which weights are no pages of the files that processes share."""
    joined = {name: values for name, values in model.named_parameters() if name not in others and not values.is_meta}
    if joined:
        _log.warning(
            "The files hold %s in parts, which are put together: until the training begins each worker has %d MiB of"
            " its own for that. Train from a copy that transformers 5 has saved with save_original_format=False.",
            text.plural(len(joined), "weight"),
            sum(values.nbytes for values in joined.values()) // 2**20,
        )


def _set_dropout(config: PretrainedConfig, value: float) -> None:
    """Gives every dropout of a configuration this value; one that is None follows another."""
    found = [name for name, old in vars(config).items() if _DROPOUT.search(name) and isinstance(old, float | int)]
    if not found:
        raise invalid_model("spec.training.dropout: this model has no dropout; remove the field")
    for name in found:
        setattr(config, name, value)


def _without_unread(model: PreTrainedModel, new: set[str]) -> set[str]:
    """Sets aside what a model without a head has for heads: it stays as it is, or is left out if it would be new.
    Returns the new tensors that are left."""
    if model.base_model is not model:
        return new
    pooler = {name for name, _ in model.named_parameters() if is_pooler(name)}
    for name in {name.partition(".")[0] for name in pooler}:
        if pooler & new:
            setattr(model, name, None)
        else:
            model.get_submodule(name).requires_grad_(False)
    return new - pooler


def _prepare_config(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, family: Family, task: ModelTask, space: Any
) -> bool | None:
    """Sets the model up for training; returns the setting of the cache that was there before.

    Only now that the model is built: an embedding takes the padding token of its configuration as one that never
    learns, and where end of text pads, that would stop the end of text from learning.
    """
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.can_generate():
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        if family.encoder_decoder and model.generation_config.decoder_start_token_id is None:
            model.generation_config.decoder_start_token_id = model.config.decoder_start_token_id
    if task.generation is not None:
        teach_to_stop(model.generation_config, task.generation, tokenizer, space)
    if family.languages:
        model.generation_config.update(**beginning(tokenizer))
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id
    if not family.generates:
        return None
    use_cache: bool = model.config.use_cache
    model.config.use_cache = False
    return use_cache


def _unpacked(config: PretrainedConfig) -> tuple[str, ...]:
    """Takes what is said of a quantisation from a configuration; the weights are plain, or they had been refused."""
    how = quantisation(vars(config))
    if hasattr(config, QUANTISATION):
        delattr(config, QUANTISATION)
    if how is None:
        return ()
    return (
        f"config.json says that the weights are quantised ({how}), but they are plain numbers: {QUANTISATION} is left"
        " out, also of the published config.json",
    )


def _keep_sinusoids(model: PreTrainedModel, family: Family) -> None:
    """transformers lets those train that the files do not hold."""
    for name in family.encoder_decoder.sinusoids if family.encoder_decoder else ():
        model.base_model.get_submodule(name).requires_grad_(False)


def _note(left_out: tuple[str, ...]) -> tuple[str, ...]:
    if not left_out:
        return ()
    return (
        f"the model's settings for generation contradict themselves: {', '.join(left_out)} have no effect or cannot be"
        " beside the others, and are left out of the published generation_config.json; to sample, set do_sample there",
    )


def _renew_head(model: PreTrainedModel, family: Family, already_new: set[str]) -> set[str]:
    """Draws new weights for a head that was pretrained for other labels."""
    kept = tuple(f"{part}." for part in (model.base_model_prefix, family.pretrained_head) if part)
    deviation = getattr(model.config, "initializer_range", 0.02)
    renewed = set()
    for name, parameter in model.named_parameters():
        if not name.startswith(kept) and name not in already_new:
            fresh = torch.zeros_like(parameter, dtype=torch.float32)
            parameter.data = fresh if parameter.ndim == 1 else fresh.normal_(0.0, deviation)
            renewed.add(name)
    return renewed
