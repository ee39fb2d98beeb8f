"""Which rows every rank takes in every step: a pure function of the seed, the epoch and the batch size.

The order of the rows and the content of each global batch do not depend on the number of workers. Only inside a global
batch are rows shared out to ranks, by length: rows that are padded together are about equally long, and of rows that
are not padded each share has about as many tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class BatchPlan:
    """The arithmetic of one run: how a global batch is shared out."""

    rows: int
    """Rows of the training split."""
    global_batch_size: int
    micro_batch_size: int
    workers: int
    epochs: int
    max_steps: int | None = None
    longest_rows: int | None = None
    """How many of the longest rows fit one pass. Unset: a micro-batch."""
    turns: tuple[int, ...] = ()
    """Behind each of these steps, in this order, the rows that are left of the epoch were put into another order."""

    @property
    def accumulation_steps(self) -> int:
        """Forward and backward passes of one rank per optimizer step."""
        largest = min(self.global_batch_size, self.rows)
        return ceil(largest / (self.micro_batch_size * self.workers))

    @property
    def rows_of_any_length(self) -> int:
        """How many rows one rank takes at a time where nothing is known of their lengths."""
        return self.longest_rows or self.micro_batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch; the last one may hold fewer rows."""
        return ceil(self.rows / self.global_batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        steps = self.steps_per_epoch * self.epochs
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def global_batches(self, epoch: int, seed: int) -> Iterator[Rows]:
        """The global batches of an epoch (counted from 0), each an array of row numbers."""
        order = np.random.default_rng([seed, epoch]).permutation(self.rows)
        for number, step in enumerate(self.turns, 1):
            done = (step - epoch * self.steps_per_epoch) * self.global_batch_size
            if 0 <= done < self.rows:
                order[done:] = np.random.default_rng([seed, epoch, number]).permutation(order[done:])
        for start in range(0, self.rows, self.global_batch_size):
            yield order[start : start + self.global_batch_size]

    def reached(self, seed: int) -> Rows:
        """The rows that some step of the run takes, in their order."""
        if self.total_steps >= self.steps_per_epoch:
            return np.arange(self.rows, dtype=np.int64)
        return np.sort(np.concatenate([*islice(self.global_batches(0, seed), self.total_steps)]))


def split_batch(
    rows: Rows,
    lengths: NDArray[np.int64],
    accumulation_steps: int,
    workers: int,
    whole: int | None = None,
    *,
    evenly: bool = False,
) -> list[list[Rows]]:
    """Shares out the rows of a global batch: `result[k][rank]` is what `rank` takes in its k-th forward pass.

    `lengths` are the lengths in tokens of `rows`, in the same order. A share may be empty: the rank then runs a row of
    weight zero, because under ZeRO every rank must take part in every pass. Where rows are compared within a share,
    `whole` is the micro-batch size: as few shares as it allows have rows, the same ones for any number of workers.
    `evenly`: no share is longer than the others, as where rows are not padded.
    """
    # A stable sort: rows of equal length keep the order of the epoch, on every machine.
    longest_first = rows[np.argsort(-lengths, kind="stable")]
    every = accumulation_steps * workers
    filled = every if whole is None else max(1, ceil(len(rows) / whole))
    shares = _dealt(longest_first, filled) if evenly and whole is None else np.array_split(longest_first, filled)
    shares += [longest_first[:0]] * (every - filled)
    return [shares[k * workers : (k + 1) * workers] for k in range(accumulation_steps)]


def _dealt(longest_first: Rows, shares: int) -> list[Rows]:
    """To and fro: who got the longest row of a round gets the shortest of the next one."""
    turn, place = np.divmod(np.arange(len(longest_first)), shares)
    taker = np.where(turn % 2, shares - 1 - place, place)
    return [longest_first[taker == share] for share in range(shares)]


def split_by_tokens(lengths: NDArray[np.int64], tokens: int, workers: int) -> list[list[Rows]]:
    """Shares out a whole split, `result[k][rank]` as in `split_batch`: the rows of a share, padded to the longest of
    them, have `tokens` at most, or it is one row."""
    longest_first = np.argsort(-lengths, kind="stable")
    passes: list[list[Rows]] = []
    taken = 0
    while taken < len(lengths):
        rows = workers * max(1, tokens // int(lengths[longest_first[taken]]))
        passes.append([longest_first[taken : taken + rows][rank::workers] for rank in range(workers)])
        taken += rows
    return passes


def split_for_evaluation(lengths: NDArray[np.int64], micro_batch_size: int, workers: int) -> list[list[Rows]]:
    """Shares out a whole split, `result[k][rank]` as in `split_batch`. What an evaluation counts must not depend on
    which rows share a batch."""
    rows = np.arange(len(lengths), dtype=np.int64)
    return split_batch(rows, lengths, max(1, ceil(len(rows) / (micro_batch_size * workers))), workers)
