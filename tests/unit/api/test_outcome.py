"""What the status of a run that is over says of it."""

import pytest

from kubetune_api.outcome import Ending
from kubetune_api.status import CheckpointStatus, Progress

PUBLISHED = "The model is verified and published."


@pytest.mark.parametrize(
    ("step", "kept", "said"),
    [
        pytest.param(120, None, PUBLISHED, id="nothing is known"),
        pytest.param(120, 120, PUBLISHED, id="the last step"),
        pytest.param(
            120,
            90,
            f"{PUBLISHED} Its weights are those of step 90, the best by validation/f1_macro.",
            id="the best step",
        ),
        pytest.param(
            80,
            80,
            f"{PUBLISHED} The training stopped early, at step 80 of 120: validation/f1_macro got no better.",
            id="stopped early, the last kept",
        ),
        pytest.param(
            80,
            60,
            f"{PUBLISHED} The training stopped early, at step 80 of 120: validation/f1_macro got no better. Its weights"
            " are those of step 60, the best by validation/f1_macro.",
            id="stopped early, the best kept",
        ),
    ],
)
def test_the_message_says_when_the_training_stopped_and_which_step_is_published(
    step: int, kept: int | None, said: str
) -> None:
    progress = Progress(step=step, total_steps=120, epoch=1.0, kept_step=kept)
    ending = Ending(
        "run-1", start_time="t", completion_time="t", progress=progress, primary_metric="validation/f1_macro"
    )
    assert ending.succeeded().conditions[0].message == said


def test_the_message_says_what_speaks_against_the_model() -> None:
    ending = Ending("run-1", start_time="t", completion_time="t")
    message = ending.succeeded(("It is no better than a guess.", "x" * 5000)).conditions[0].message
    assert message.startswith(f"{PUBLISHED} It is no better than a guess. xxx")
    assert len(message) == 4000


def test_a_run_that_failed_says_which_checkpoint_it_has_left() -> None:
    checkpoint = CheckpointStatus(step=40, time="t", failures=1, message="the store does not answer")
    ending = Ending("run-1", start_time="t", completion_time="t", checkpoint=checkpoint)
    assert ending.failed("Unknown", "it was killed").checkpoint == checkpoint
