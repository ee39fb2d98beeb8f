"""Accelerators by name, and the most that each computes: comparisons of models estimate time by it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AcceleratorRow:
    """One accelerator. The figures are its datasheet's, in 10¹² operations per second, without sparsity."""

    bf16: float | None
    """In bfloat16 on its tensor cores; None where it has none."""
    fp32: float
    """In 32 bits, beside the tensor cores."""


ACCELERATORS: dict[str, AcceleratorRow] = {
    "A10": AcceleratorRow(125, 31.2),
    "A30": AcceleratorRow(165, 10.3),
    "A40": AcceleratorRow(149.7, 37.4),
    "A100": AcceleratorRow(312, 19.5),
    "B200": AcceleratorRow(2250, 75),
    "H100": AcceleratorRow(989, 67),
    "H100-PCIe": AcceleratorRow(756, 51),
    "H200": AcceleratorRow(989, 67),
    "L4": AcceleratorRow(121, 30.3),
    "L40S": AcceleratorRow(362, 91.6),
    "T4": AcceleratorRow(None, 8.1),
    "V100": AcceleratorRow(None, 15.7),
}
"""By their makers' names. `H100` is the SXM module."""
