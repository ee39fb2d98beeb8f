"""A model of 250 million parameters, made on the spot, on two workers at ZeRO stage 3: the memory of its own that each
needs.

    make bench-large

CI does the same with a smaller one (tests/integration/training/test_large_models.py). Pages of the model's files are
not counted: the workers of a node share them, and the kernel takes them back where memory is short.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.large_model import Loaded, load_into_shards, write_model
from support.ranks import run_ranks

LAYERS, WIDTH = 19, 1024


def main() -> int:
    """Prints a line for each way; an error where the model did not fit where it should."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        stored = write_model(folder, LAYERS, WIDTH)
        whole = (folder / "model.safetensors").stat().st_size
        print(f"{whole / 2**20:8.0f} MiB is the model in bfloat16 ({whole / 2e6:.0f} million parameters)", flush=True)
        straight = run_ranks(load_into_shards, 2, folder, None)
        told("in shards, from the files' pages", straight)
        told("in shards, read in 32 bits first", run_ranks(load_into_shards, 2, folder, torch.float32))
    fits = all(rank.grown < whole for rank in straight)
    same = straight[0].digests == stored
    print(f"each worker below the whole model: {fits}; every tensor as in the files: {same}")
    return 0 if fits and same else 1


def told(what: str, ranks: list[Loaded]) -> None:
    """Of each worker, the most that its own memory grew."""
    print(f"{' and '.join(f'{rank.grown / 2**20:.0f}' for rank in ranks):>15} MiB {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
