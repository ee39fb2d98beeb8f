"""Evaluation of a split over all ranks."""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.training.batches import deal_for_evaluation
from kubetune_trainer.training.collate import collate, row_targets
from kubetune_trainer.training.loss import row_losses
from kubetune_trainer.training.metrics import classification, perplexity


@torch.no_grad()
def evaluate(
    engine: Any,
    split: EncodedSplit,
    *,
    name: str,
    labels: tuple[str, ...],
    pad_token: int,
    micro_batch_size: int,
    step: int,
    epoch: float,
) -> EvaluationRecord:
    """Judges the model on a split; every rank takes a share and gets the whole result."""
    engine.eval()
    rank, workers = dist.get_rank(), dist.get_world_size()
    losses = np.zeros(split.rows, dtype=np.float64)
    predicted = np.zeros(split.rows, dtype=np.int64)
    for shares in deal_for_evaluation(split.lengths, micro_batch_size, workers):
        batch = collate(split, shares[rank], pad_token, engine.device)
        logits = engine(**batch.inputs).logits
        # Under ZeRO-3 a rank without rows must still take its part in the forward pass; its result is no one's.
        if len(batch.rows):
            losses[batch.rows] = row_losses(logits, batch.targets).double().cpu().numpy()
            if split.labels is not None:
                predicted[batch.rows] = logits.argmax(dim=-1).cpu().numpy()
    engine.train()
    losses, predicted = _sum_over_ranks(losses, engine.device), _sum_over_ranks(predicted, engine.device)
    mean = float(losses.sum() / row_targets(split).sum())
    if split.labels is None:
        return EvaluationRecord(name, step, epoch, {"loss": mean, "perplexity": perplexity(mean)})
    overall, per_class, confusion = classification(split.labels.astype(np.int64), predicted, labels)
    return EvaluationRecord(name, step, epoch, {"loss": mean, **overall}, per_class, confusion)


def _sum_over_ranks(values: NDArray[Any], device: torch.device) -> NDArray[Any]:
    """Each row was computed on one rank and is zero on the others, so the sum is a gather."""
    tensor = torch.from_numpy(values).to(device)
    dist.all_reduce(tensor)
    gathered: NDArray[Any] = tensor.cpu().numpy()
    return gathered
