"""Accelerators by name, and the most that each computes: comparisons of models estimate time by it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AcceleratorRow:
    """One accelerator. The figures are its datasheet's, in 10¹² operations per second, without sparsity."""

    half: float
    """In 16 bits on its tensor cores."""
    fp32: float
    """In 32 bits, beside the tensor cores."""
    has_bf16: bool = True
    """Whether bfloat16 is one of the 16-bit formats; float16 always is, and as fast."""

    def peak(self, precision: str) -> float | None:
        """The most in a precision of `spec.training.precision`; None where it does not compute in it."""
        if precision == "FP32":
            return self.fp32
        return None if precision == "BF16" and not self.has_bf16 else self.half


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
    "T4": AcceleratorRow(65, 8.1, has_bf16=False),
    "V100": AcceleratorRow(125, 15.7, has_bf16=False),
}
"""By their makers' names. `H100` is the SXM module."""
