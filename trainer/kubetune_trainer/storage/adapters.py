"""What `adapter_config.json` says of an adapter: its base, and its matrices. It is read as text, and not given to peft.

What a training on from it would not keep is refused.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kubetune_api.job import Model
from kubetune_api.schemes import FILE, HUB, SCHEMES, hub_name, scheme_of
from kubetune_trainer.errors import RunError, invalid_model
from kubetune_trainer.storage.configs import ADAPTER_CONFIG, read_json

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_LAYER = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_MOST = 65536
_NOT_KEPT = (
    "rank_pattern", "alpha_pattern", "layers_to_transform", "layer_replication", "lora_bias", "target_parameters",
    "trainable_token_indices", "use_qalora", "use_bdlora", "arrow_config", "alora_invocation_tokens",
    "monteclora_config",
)  # fmt: skip
"""Settings of peft that a training on would lose; each is empty where it is not used."""
_BASE_STAYS = (None, True, False, "gaussian", "eva", "orthogonal")
"""The values of init_lora_weights for which peft leaves the base as it is; for others (PiSSA, OLoRA, LoftQ) it changes
the weights whenever the adapter is loaded."""


@dataclass(frozen=True)
class AdapterSettings:
    """A LoRA adapter, as a training on from it needs to know it."""

    base: Model
    """Where its pretrained model is."""
    rank: int
    alpha: int
    variant: str
    """As `method.lora.variant` names it."""
    modules: tuple[str, ...] | None
    """The adapted layers, or the ends of their names; None where a pattern chooses them, or leaves some out."""


def adapter_settings(uri: str, folder: Path) -> AdapterSettings:
    """Those of the adapter in `folder`, which came from `uri`; RunError where it is none that can be trained on."""
    content = read_json(uri, folder / ADAPTER_CONFIG)
    where = f"{uri}/{ADAPTER_CONFIG}"
    if content.get("peft_type") != "LORA":
        raise invalid_model(f"{where} is not of a LoRA adapter (peft_type); only such are trained on.")
    if content.get("init_lora_weights") not in _BASE_STAYS:
        raise _refused(
            where,
            "was made beside a base model that its init_lora_weights changes, which is not trained on",
            "convert it to a plain LoRA (path_initial_model_for_weight_conversion of peft), or merge it",
        )
    lost = [name for name in _NOT_KEPT if content.get(name)] + ["bias"] * (content.get("bias", "none") != "none")
    if lost:
        raise _refused(where, f"sets {lost[0]}, which is not trained on", "merge the adapter into its base model")
    rank, alpha = _count(content.get("r")), _count(content.get("lora_alpha"))
    if not rank or not alpha or (content.get("use_rslora") and content.get("use_dora")):
        raise _refused(
            where, "has no whole numbers r and lora_alpha, or is of two variants", "merge it into its base model"
        )
    variant = "RsLoRA" if content.get("use_rslora") else "DoRA" if content.get("use_dora") else "Standard"
    return AdapterSettings(_base(where, content), rank, alpha, variant, _modules(content))


def _count(value: Any) -> int:
    """A whole number from 1 on, which peft may write with a point; 0 for anything else."""
    return int(value) if isinstance(value, int | float) and 1 <= value <= _MOST and value == int(value) else 0


def _modules(content: dict[str, Any]) -> tuple[str, ...] | None:
    names = content.get("target_modules")
    if content.get("exclude_modules") or not isinstance(names, list):
        return None
    if not all(isinstance(name, str) and _LAYER.fullmatch(name) for name in names):
        return None
    return tuple(sorted(names))


def _base(where: str, content: dict[str, Any]) -> Model:
    named, revision = content.get("base_model_name_or_path"), content.get("revision")
    uri = _uri(named) if isinstance(named, str) else None
    if uri is None:
        raise _refused(
            where,
            "does not say where its base model is",
            f"set base_model_name_or_path to its URI there, or to owner/name with its commit as revision for {HUB}://",
        )
    try:
        return Model(uri=uri, revision=revision if hub_name(uri) else None)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise _refused(where, f"names its base model {uri}, which cannot be used ({why})", "correct it there") from None


def _uri(named: str) -> str | None:
    if scheme_of(named) in SCHEMES:
        return named
    if named.startswith("/"):
        return f"{FILE}://{named}"
    return f"{HUB}://{named}" if _HUB_NAME.fullmatch(named) else None


def _refused(where: str, why: str, remedy: str) -> RunError:
    return invalid_model(f"{where} {why}; {remedy}.")
