"""Ray Train's group of workers, without the helpers that no training here asks anything of.

Each of them is an actor: one more process that starts Python and imports Ray, two CPU seconds before the first step.
"""

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

_UNUSED = (DatasetsCallback, PlacementGroupCleanerCallback)
"""What hands out Ray's own datasets, and what looks after a cluster that outlives its run; ours ends with it."""


class AsManyAsThereAre(FixedScalingPolicy):  # type: ignore[misc]
    """A fixed number of workers, for which no autoscaler is asked: the driver has waited until all have a place."""

    def after_controller_start(self, train_run_context: Any) -> None:
        """Ray's own asks here for the first time."""

    def _maybe_send_resource_request(self) -> None:
        pass


class Group(TorchTrainer):  # type: ignore[misc]
    """The workers of one training."""

    def _create_default_callbacks(self) -> list[Any]:
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, _UNUSED)]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        parts["scaling_policy"] = AsManyAsThereAre(self.scaling_config)
        return super()._initialize_and_run_controller(**parts)
