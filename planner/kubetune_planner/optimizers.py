"""What each optimizer keeps for a trained parameter."""

from collections.abc import Mapping

STATE_BYTES: Mapping[str, int] = {
    "AdamW": 8,  # the mean of the gradients and that of their squares, of 32 bits each
    "Adam": 8,
    "Adafactor": 0,  # a row and a column for each matrix: less than a hundredth of a byte
    "Lion": 4,  # the mean of the gradients
    "Muon": 8,  # those of AdamW; for hidden matrices one mean would do
    "SGD": 4,  # the running sum of the gradients
}
"""Bytes per trained parameter, by `spec.training.optimizer.type`; copies of the weights are counted elsewhere."""
