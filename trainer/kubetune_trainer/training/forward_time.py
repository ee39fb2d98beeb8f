"""How long a rank's forward passes take, in which it waits for no other rank (but at ZeRO stage 3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch

from kubetune_trainer.watchdog.pulse import Pulse


class ForwardTime:
    """Measures the passes of one step after the other. On a GPU, by the GPU's own marks: the program is ahead of it."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._tokens = 0
        self._seconds = 0.0
        self._marks: list[tuple[Any, Any]] = []

    @contextmanager
    def of(self, tokens: int) -> Iterator[None]:
        """Within it is a pass over so many tokens."""
        self._tokens += tokens
        if self._on_gpu:
            begun, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begun.record()
            yield
            done.record()
            self._marks.append((begun, done))
        else:
            started = perf_counter()
            yield
            self._seconds += perf_counter() - started

    def tell(self, pulse: Pulse) -> None:
        """Of the passes since the last time, which the device has done."""
        self._seconds += sum(begun.elapsed_time(done) for begun, done in self._marks) / 1000
        pulse.passed(self._seconds, self._tokens)
        self._tokens, self._seconds, self._marks = 0, 0.0, []
