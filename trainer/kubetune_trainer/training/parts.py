"""Some rows of a batch, with what the model came to on them."""

from collections.abc import Sequence

from kubetune_trainer.tasks.base import Losses, MicroBatch


def part_of(losses: Losses, batch: MicroBatch, places: Sequence[int]) -> tuple[Losses, MicroBatch]:
    """The rows at these places of the batch, without the inputs: they have been through the model."""
    taken = list(places)
    # A batch that only keeps step has one row in the model and none of the split.
    rows = batch.rows[taken] if len(batch.rows) else batch.rows
    return Losses(losses.judged[taken], losses.outputs[taken]), MicroBatch({}, batch.targets[taken], rows)
