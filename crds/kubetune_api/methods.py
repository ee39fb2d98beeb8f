"""Which weights a run trains: one row for each method. The CRD's enumeration, defaults and texts follow from it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodRow:
    """One method."""

    does: str
    """The method in a sentence, for the API's page."""
    learning_rate: float
    """The highest learning rate, per optimizer step, where the manifest does not say."""
    task_rate_factor: float = 1
    """What it multiplies the rate by that a task has of its own, which is one for training every weight."""
    settings: tuple[str, ...] = ()
    """The groups of settings that it has, as attributes of `method`."""
    freezes: bool = False
    """Whether `method.freeze` says which weights stay as they are."""

    def rate(self, of_task: float | None) -> float:
        """The rate of a run without optimizers that need another; `of_task`: see `TaskRow.learning_rate`."""
        return self.learning_rate if of_task is None else float(f"{of_task * self.task_rate_factor:.6g}")


METHODS: dict[str, MethodRow] = {
    "Full": MethodRow(does="trains every weight that is not frozen", learning_rate=2e-5, freezes=True),
    "LoRA": MethodRow(
        does="keeps the pretrained weights and trains small matrices beside them, and a new head whole",
        learning_rate=2e-4,
        task_rate_factor=10,
        settings=("lora", "quantization"),
    ),
}
"""By the name that `method.type` has."""
