"""What the data pipeline asks of a task: everything that depends on what the model learns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data.prepared import TargetSpace
from kubetune_trainer.data.rows import Field, Row
from kubetune_trainer.data.tokens import Encoded


class DataTask(Protocol):
    """The part of a task that runs on the driver. `space` is always what `space()` returned."""

    def fields(self, spec: FineTuneJobSpec) -> tuple[Field, ...]:
        """The values of a row, in the order in which their columns are looked for."""

    def space(
        self, spec: FineTuneJobSpec, sources: Mapping[str, Sequence[Row]], classes: Mapping[str, Sequence[str]]
    ) -> TargetSpace:
        """What the model may answer, from the cleaned rows of "train" and of the separate datasets.

        `classes` holds, by the name of a field, those that the files of "train" name, in the files' own order.
        RunError (INVALID_DATA) where the rows cannot teach it.
        """

    def group(self, row: Row) -> str:
        """Rows of one group fall into one split, so that nothing is tested on what was trained on."""

    def stratum(self, row: Row) -> str | Sequence[str] | None:
        """Every split gets the same share of each stratum; of those of a row the rarest counts, None: it has none."""

    def refuse_untaught(self, spec: FineTuneJobSpec, space: Any, training: Sequence[Row]) -> TargetSpace | None:
        """RunError (INVALID_DATA) if the training split cannot teach what the space holds.

        Returns the space with what follows from the training split (weights of classes); None where nothing does.
        """

    def data_notes(self, sources: Mapping[str, Sequence[Row]], tokenizer: Any) -> Iterator[str]:
        """What the author of the job should know of how the cleaned rows become tokens, in sentences."""

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int, space: Any) -> Encoded:
        """The rows as tokens and targets, each cut at `max_length` tokens; see `Tokens.with_targets`."""
