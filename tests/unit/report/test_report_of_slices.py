"""The table of slices: what all of them have."""

from kubetune_trainer.figures import SliceRecord
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.report.slices import slice_table


def test_a_metric_that_slices_lack_is_not_in_their_table() -> None:
    slices = (SliceRecord("german", 118, {"perplexity": 8.0}),)
    judged = EvaluationRecord("test", 1, 1.0, {"perplexity": 9.0, "rouge_l": 0.5}, slices=slices)
    table = slice_table(judged, ("perplexity", "rouge_l"))
    assert [[cell.name for cell in line.cells] for line in table] == [["perplexity"], ["perplexity"]]
