"""From the files of a dataset to encoded splits: read, clean, split, tokenize."""

from kubetune_trainer.data.prepare import prepare
from kubetune_trainer.data.prepared import EncodedSplit, PreparedData

__all__ = ["EncodedSplit", "PreparedData", "prepare"]
