"""Well-known models of the hub, so that a plan needs no download."""

import json
from functools import cache
from importlib.resources import files

from kubetune_api.schemes import HUB
from kubetune_planner.encoder_decoder import shape_from_config
from kubetune_planner.shape import ModelShape

_HUB = f"{HUB}://"


def shape_of(uri: str) -> ModelShape | None:
    """The shape of a model of the hub, `hf://owner/name`; None where the catalogue does not have it."""
    config = _configs().get(uri.removeprefix(_HUB)) if uri.startswith(_HUB) else None
    return None if config is None else shape_from_config(config)


def names() -> list[str]:
    """The models of the catalogue, `owner/name`, in sorted order."""
    return sorted(_configs())


@cache
def _configs() -> dict[str, dict[str, object]]:
    """The parts of each model's config.json that give its shape."""
    text = (files("kubetune_planner") / "models.json").read_text(encoding="utf-8")
    configs: dict[str, dict[str, object]] = json.loads(text)
    return configs
