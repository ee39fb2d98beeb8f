"""The function that Ray Train runs on each worker.

Ray opens it in its controller as well, so this module imports neither torch nor transformers before it is called.
"""

from typing import Any

from kubetune_trainer.handoff import WorkerResult
from kubetune_trainer.imports import uncollected


def train(config: dict[str, Any]) -> WorkerResult | None:
    """Trains the share of the rank that calls it. Rank 0 returns the result."""
    with uncollected():
        from kubetune_trainer.ray_rank import train_rank

    return train_rank(config["input"])
