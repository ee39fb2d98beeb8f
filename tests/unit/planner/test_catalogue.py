"""The catalogue: entries as the script makes them, held against transformers' own configurations."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from kubetune_api.families import FAMILIES
from kubetune_planner.catalogue import names, shape_of
from kubetune_planner.encoder_decoder import shape_from_config
from support.tiny_models import CONFIGS

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))
from scripts import catalogue, sizes  # noqa: E402

ENTRIES: dict[str, dict[str, Any]] = json.loads(catalogue.CATALOGUE.read_text("utf-8"))


@pytest.mark.parametrize("name", names())
def test_an_entry_leaves_out_what_transformers_fills_in_alike(name: str) -> None:
    """The function of the feed-forward part, say, which a plan's activations follow from."""
    entry = dict(ENTRIES[name])
    whole = CONFIG_MAPPING[entry.pop("model_type")](**entry).to_dict()
    known, found = shape_of(f"hf://{name}"), shape_from_config(whole)
    assert known is not None
    # T5's class says of every model that it is tied, whatever its file says.
    assert replace(found, tied=known.tied) == known
    assert FAMILIES[found.family].encoder_decoder is not None or found.tied == known.tied


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_the_script_keeps_the_fields_that_the_shape_needs_and_no_others(family: str) -> None:
    whole = CONFIGS[family].to_dict()
    entry = catalogue.entry_of(whole)
    assert shape_from_config(entry) == shape_from_config(whole)
    assert len(entry) < len(whole) / 2
    assert catalogue.entry_of(entry) == entry


def test_the_catalogue_is_as_the_script_writes_it() -> None:
    assert catalogue.written(ENTRIES) == catalogue.CATALOGUE.read_text("utf-8")


def test_the_table_of_what_fits_where_is_the_planners() -> None:
    assert f"{sizes.BEGIN}{sizes.table()}{sizes.END}" in sizes.PAGE.read_text("utf-8")
