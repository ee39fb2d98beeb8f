"""A step that is taken again, since its gradients overflowed, moves: the watchdog sees each try."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from kubetune_trainer.training.batches import BatchPlan
from kubetune_trainer.training.loop import Loop
from kubetune_trainer.watchdog.pulse import PULSE
from support.tiny_models import PAD, classification_rows, spec_for


class _Overflowing(Loop):
    """The gradients of the first two tries overflow."""

    def _passes(self, *_: Any) -> float:
        MARKS.append(PULSE.last.changes)
        return 0.5


MARKS: list[int] = []


def test_each_try_of_a_step_is_a_sign_that_the_run_moves() -> None:
    MARKS.clear()
    engine = SimpleNamespace(
        fp16_enabled=lambda: True,
        bfloat16_enabled=lambda: False,
        optimizer=SimpleNamespace(loss_scale=2.0**16),
        get_global_grad_norm=lambda: 1.0 if len(MARKS) == 3 else float("inf"),
    )
    given = {"engine": engine, "task": None, "splits": {"train": classification_rows(4)}, "space": None}
    loop: Any = _Overflowing(
        **given, spec=spec_for("SequenceClassification"), plan=BatchPlan(4, 4, 4, 1, 1), pad_token=PAD, record=print
    )
    assert loop._step(np.arange(4), np.ones(4, dtype=np.int64), 4, step=1) == 0.5
    first, second, third = MARKS
    assert first < second < third
