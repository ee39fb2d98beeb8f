"""What lies in the main memory of a node instead of the accelerator's: `zero.offload`.

Read from DeepSpeed 0.19.8's sources (`runtime/zero/stage_1_and_2.py`, `runtime/zero/stage3.py`). The optimizer's
states and 32-bit weights leave the accelerator, with AdamW 12 bytes a trained parameter. Beside them main memory holds
the gradients of a step in 32 bits and, at stages 1 and 2, the new weights on their way back; at stage 3 it holds the
gradients twice, and then they leave the accelerator as well. At stages 1 and 2 they stay there until the step.
"""

from dataclasses import dataclass, replace

from kubetune_api.job import Offload
from kubetune_planner.states import ModelStates

_FLOAT32 = 4


@dataclass(frozen=True)
class Offloaded:
    """The model states of one worker, by where they lie."""

    on_accelerator: ModelStates
    in_main_memory: int
    """Bytes."""


def offloaded(offload: Offload, states: ModelStates, share: int, stage: int, number: int) -> Offloaded:
    """What of `states` stays on the accelerator, and what main memory holds for it. `share` are the trained parameters
    whose step the worker takes."""
    on_accelerator, in_main_memory = states, 0
    if offload.optimizer == "CPU":
        beside = 2 * _FLOAT32 if stage == 3 else _FLOAT32 + number
        in_main_memory += states.optimizer + beside * share
        gradients = 0 if stage == 3 else states.gradients
        on_accelerator = replace(on_accelerator, optimizer=0, gradients=gradients)
    if offload.weights == "CPU":
        in_main_memory += states.weights
        on_accelerator = replace(on_accelerator, weights=0)
    return Offloaded(on_accelerator, in_main_memory)
