"""Which losses are far above those before them."""

import numpy as np
import pytest

from kubetune_trainer.progress import ProgressTeller
from kubetune_trainer.training.spikes import Spikes
from kubetune_trainer.underway import Spiked

FACTOR = 10.0


def falling(steps: int, *, noise: float = 0.1) -> list[float]:
    random = np.random.default_rng(0)
    return [2.5 * 0.995**step + float(random.normal(0, noise)) for step in range(steps)]


def told(losses: list[float], factor: float = FACTOR) -> list[int]:
    """The numbers of the losses that are spikes."""
    spikes = Spikes()
    return [number for number, loss in enumerate(losses) if spikes.take(loss, factor) is not None]


def test_a_loss_that_falls_with_its_noise_has_no_spikes() -> None:
    assert told(falling(2000)) == []


def test_a_jump_is_told_with_what_was_usual() -> None:
    spikes, losses = Spikes(), falling(200)
    found = [spikes.take(loss, FACTOR) for loss in [*losses, 6.0]]
    assert [usual is not None for usual in found] == [False] * 200 + [True]
    assert found[-1] == pytest.approx(np.median(losses[-100:]))


def test_a_smaller_factor_finds_smaller_jumps() -> None:
    losses = [*falling(200), 2.5]
    assert (told(losses), told(losses, 4.0)) == ([], [200])


def test_the_first_steps_say_what_is_usual() -> None:
    assert told([9.0, *falling(18), 9.0]) == []
    assert told([*falling(20), 9.0]) == [20]


def test_a_loss_near_zero_may_move_by_much_of_itself() -> None:
    """A single wrong row of a batch is no spike of a classifier that is nearly always right."""
    assert told([*[0.7] * 20, *[0.001] * 200, 0.2]) == []
    assert told([*[0.7] * 20, *[0.001] * 200, 1.0]) == [220]


def test_a_loss_that_stays_up_is_told_once() -> None:
    assert told([*falling(200), *[8.0] * 300]) == [200]


def test_another_spike_is_told_after_a_while() -> None:
    losses = falling(500)
    losses[200] = losses[250] = losses[400] = 9.0
    assert told(losses) == [200, 400]


class Notes(list[str]):
    def note(self, text: str) -> None:
        self.append(text)


def test_a_spike_is_told_in_a_note() -> None:
    notes = Notes()
    ProgressTeller(10, notes)([Spiked(1200, 6.25, 1.5)])  # type: ignore[arg-type]
    assert notes == ["the loss of step 1,200 is 6.25, and about 1.5 was usual before"]
