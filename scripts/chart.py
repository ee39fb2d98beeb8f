"""Writes the chart's copies of what is made from the models: the CRDs, and the schema of a profile in its values. And
one of its values, which templates cannot read elsewhere.

    chart.py [--check]

Copies and no links: Argo CD refuses a chart with links that lead out of it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from kubetune_api.base import INT_OR_STRING_KEY
from kubetune_api.crd import FOLDER, write_or_check
from kubetune_api.kinds import KINDS
from kubetune_api.profile import FineTuneProfileSpec
from kubetune_api.schema import Schema, structural_schema

CHART = Path(__file__).resolve().parent.parent / "charts" / "kubetune"
VALUES_SCHEMA = CHART / "values.schema.json"
_LEFT_OUT = ("default", "format")
"""A default belongs to the API server, and a format of its own Helm does not know."""


def texts() -> dict[Path, str]:
    """What each file should be."""
    definitions = {
        CHART / "files" / "crds" / kind.file: (FOLDER / kind.file).read_text("utf-8") for kind in KINDS.values()
    }
    values: dict[str, Any] = json.loads(VALUES_SCHEMA.read_text("utf-8"))
    values["definitions"]["profileSpec"] = closed(structural_schema(FineTuneProfileSpec))
    defaults = {CHART / "files" / "values.yaml": (CHART / "values.yaml").read_text("utf-8")}
    return {**definitions, **defaults, VALUES_SCHEMA: json.dumps(values, indent=2, ensure_ascii=False) + "\n"}


def closed(schema: Schema) -> Schema:
    """The schema without what only the API server reads; no object has a field that it does not name."""
    kept = {key: part for key, part in schema.items() if key not in _LEFT_OUT and not key.startswith("x-")}
    if INT_OR_STRING_KEY in schema:
        kept["type"] = ["integer", "string"]
    if "properties" in kept:
        below = {name: closed(part) for name, part in kept["properties"].items()}
        kept |= {"properties": below, "additionalProperties": False}
    for part in ("items", "additionalProperties"):
        if isinstance(kept.get(part), dict):
            kept[part] = closed(kept[part])
    return kept


if __name__ == "__main__":
    sys.exit(write_or_check(texts(), sys.argv[1:], "The chart's copies of what is made from the models."))
