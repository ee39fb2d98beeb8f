"""A model of which no rank holds all: its weights go from the files straight into the shards of ZeRO-3."""

from pathlib import Path

from support.large_model import load_both_ways, write_model
from support.ranks import run_ranks


def test_each_rank_takes_less_memory_of_its_own_than_the_model_has(tmp_path: Path) -> None:
    stored = write_model(tmp_path, layers=6, width=512)
    whole = (tmp_path / "model.safetensors").stat().st_size
    ranks = run_ranks(load_both_ways, 2, tmp_path)
    shares = [(straight.grown / whole, in_32_bits.grown / whole) for straight, in_32_bits in ranks]
    # Half of it is the rank's own share.
    assert all(straight < 0.9 and in_32_bits > 1.2 for straight, in_32_bits in shares), shares
    assert [loaded.digests for loaded in ranks[0]] == [stored, stored]
