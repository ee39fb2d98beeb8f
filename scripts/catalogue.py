"""Adds models to the planner's catalogue, from their config.json: python scripts/catalogue.py OWNER/NAME=config.json …

An entry has the fields that give the model another shape than the defaults of its family do, and no others; the file is
that of the model's repository on the hub. Without an argument, the catalogue is written anew from its own entries.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubetune_planner.encoder_decoder import shape_from_config

CATALOGUE = Path(__file__).parents[1] / "planner" / "kubetune_planner" / "models.json"
ALWAYS = ("model_type", "tie_word_embeddings")
"""Fields that an entry has where the file has them, whether they change the shape or not."""


def entry_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config.json that its shape needs."""
    whole, kept = shape_from_config(config), dict(config)
    for field in [name for name in config if name not in ALWAYS]:
        without = {name: value for name, value in kept.items() if name != field}
        if _gives(without, whole):
            kept = without
    return kept


def _gives(config: Mapping[str, Any], shape: object) -> bool:
    try:
        return shape_from_config(config) == shape
    except ValueError:
        return False


def written(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The catalogue's text: a line for each model."""
    names = sorted(entries, key=str.lower)
    lines = [f"  {json.dumps(name)}: {json.dumps(entries[name])}" for name in names]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(arguments: list[str]) -> None:
    """Writes the file."""
    entries = json.loads(CATALOGUE.read_text("utf-8"))
    for argument in arguments:
        name, _, path = argument.partition("=")
        entries[name] = entry_of(json.loads(Path(path).read_text("utf-8")))
    CATALOGUE.write_text(written(entries), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
