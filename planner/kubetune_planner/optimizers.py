"""What each optimizer keeps for a trained parameter."""

from collections.abc import Mapping

STATE_BYTES: Mapping[str, int] = {
    "AdamW": 8,  # the mean of the gradients and that of their squares, of 32 bits each
}
"""Bytes per trained parameter, by `spec.training.optimizer.type`; copies of the weights are counted elsewhere."""
