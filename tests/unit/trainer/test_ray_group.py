"""What Ray Train starts beside the workers."""

from typing import Any

import pytest
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.scaling_policy.scaling_policy import ResizeDecision

from kubetune_trainer.ray_group import AsManyAsThereAre, Group


def group() -> Group:
    return Group(print, scaling_config=ScalingConfig(num_workers=2), run_config=RunConfig(name="run"))


def test_no_actor_is_started_for_datasets_or_for_the_placement_groups_of_a_lasting_cluster() -> None:
    everything = {type(each).__name__ for each in TorchTrainer._create_default_callbacks(group())}
    ours = {type(each).__name__ for each in group()._create_default_callbacks()}
    assert everything - ours == {"DatasetsCallback", "PlacementGroupCleanerCallback"}


def test_no_autoscaler_is_asked_for_workers_that_have_their_place() -> None:
    policy = AsManyAsThereAre(ScalingConfig(num_workers=2))
    # Ray's own would start an actor for each of them, without a Ray to start it on.
    policy.after_controller_start(None)
    decision = policy.make_decision_for_non_running_worker_group()
    policy.before_controller_abort()
    assert isinstance(decision, ResizeDecision)
    assert decision.num_workers == 2


def test_a_group_is_as_large_as_that_policy_says(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(TorchTrainer, "_initialize_and_run_controller", lambda _, **parts: given.update(parts))
    group()._initialize_and_run_controller(scaling_policy=None, callbacks=[])
    assert isinstance(given["scaling_policy"], AsManyAsThereAre)
