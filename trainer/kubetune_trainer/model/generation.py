"""The settings for generation that come with a model, made such that they can be published.

transformers loads settings that contradict each other with a warning and refuses to write them, after the training.
"""

import json
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from kubetune_trainer.storage.configs import CONFIG, GENERATION_CONFIG

_SWITCHES = ("do_sample", "num_beams", "return_dict_in_generate", "use_cache")
"""What decides whether other settings mean anything."""


def generation_settings(folder: Path) -> tuple[GenerationConfig, tuple[str, ...]]:
    """What the model in the folder sets, less what contradicts the rest or cannot be at all; and the names of this.

    What has no effect is left out and not made effective: the published model generates as the pretrained one does.
    """
    settings = _given(folder)
    if _is_valid(settings):
        return GenerationConfig(**settings), ()
    kept: dict[str, Any] = {}
    for name in sorted(settings, key=lambda name: name not in _SWITCHES):
        if _is_valid({**kept, name: settings[name]}):
            kept[name] = settings[name]
    return GenerationConfig(**kept), tuple(sorted(settings.keys() - kept.keys()))


def _given(folder: Path) -> dict[str, Any]:
    file = folder / GENERATION_CONFIG
    if file.exists():
        content: dict[str, Any] = json.loads(file.read_bytes())
        return content
    # Older models have them among their sizes.
    config = json.loads((folder / CONFIG).read_bytes())
    return {name: config[name] for name in GenerationConfig().to_dict() if config.get(name) is not None}


def _is_valid(settings: dict[str, Any]) -> bool:
    try:
        GenerationConfig(**settings).validate(strict=True)
    except Exception:  # it also stumbles over values of another type
        return False
    return True
