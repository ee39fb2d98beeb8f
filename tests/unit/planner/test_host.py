"""Main memory and disk beside the accelerators."""

from typing import Any

import pytest

from kubetune_api.profile import FineTuneProfile
from kubetune_planner.catalogue import shape_of
from kubetune_planner.host import BASE, HostNeed, host_need, too_small
from kubetune_planner.shape import ModelShape
from support.observed_jobs import profile
from support.tiny_models import spec_for

GIB = 1 << 30


def shape(name: str) -> ModelShape:
    found = shape_of(f"hf://{name}")
    assert found is not None
    return found


LLAMA_8B = shape("meta-llama/Llama-3.1-8B")
PARAMETERS, LARGEST = LLAMA_8B.parameters, 2 * LLAMA_8B.embedding_matrix


def need(stage: int, *, workers: int = 8, of_pod: int = 8, model: ModelShape = LLAMA_8B, **parts: Any) -> HostNeed:
    training = {"checkpoints": None} | parts.pop("training", {})
    spec = spec_for("CausalLM", training=training, **parts).resolved
    return host_need(model, spec, stage=stage, workers=workers, precision="BF16", workers_per_pod=of_pod)


def test_deepspeed_packs_what_is_trained_in_main_memory_at_stages_1_and_2() -> None:
    assert need(2).memory == need(1).memory == BASE + LARGEST + 2 * PARAMETERS
    assert need(3).memory == BASE + 4_000_000_000, "a file of the published model"
    assert need(2, method={"type": "LoRA"}).memory < need(2).memory - 1.9 * PARAMETERS


def test_copies_of_checkpoints_and_of_the_best_weights_are_counted() -> None:
    best = {"keep": "Best", "checkpoints": {"everySteps": 10}}
    share = -(-PARAMETERS // 8)
    assert need(3, training=best).memory == BASE + 12 * share + 2 * share
    assert need(2, training=best).memory == BASE + 12 * share + 2 * PARAMETERS


@pytest.mark.parametrize(
    ("stage", "offload", "share"),
    [
        pytest.param(2, {"optimizer": "CPU"}, 18, id="the optimizer, gradients and new weights"),
        pytest.param(3, {"optimizer": "CPU"}, 20, id="the optimizer, and the gradients twice"),
        pytest.param(3, {"optimizer": "CPU", "weights": "CPU"}, 22, id="the weights too"),
    ],
)
def test_what_is_offloaded_is_in_main_memory(stage: int, offload: dict[str, str], share: int) -> None:
    more = need(stage, zero={"offload": offload}).memory - need(stage).memory
    assert more == pytest.approx(share * PARAMETERS / 8, rel=1e-6)


def test_a_pods_disk_holds_the_fetched_model_and_what_its_workers_write() -> None:
    assert need(3).disk == 2 * PARAMETERS + 8 * 4_000_000_000
    assert need(3, of_pod=1).disk == 2 * PARAMETERS + 4_000_000_000
    assert need(3, workers=4).workers == 4, "a pod is no larger than the job"
    saved = need(3, training={"checkpoints": {"everySteps": 10}}).disk
    assert saved == 2 * PARAMETERS + 8 * 12 * -(-PARAMETERS // 8)
    small = shape("google-bert/bert-base-uncased")
    assert need(3, model=small).disk == 4 * small.parameters_for(None)


def test_a_profile_with_too_little_is_told_what_to_set() -> None:
    small = FineTuneProfile.model_validate(profile(worker={"memory": "8Gi"}, scratchSize="20Gi"))
    large = FineTuneProfile.model_validate(profile(worker={"memory": "64Gi"}, scratchSize="200Gi"))
    assert too_small(need(2), large) is None
    assert too_small(need(2), small) == (
        "The training does not fit its pods: a worker needs 17.9 GiB of its node's main memory, and worker.memory of"
        " profile default is 8Gi; the platform team sets it to 18Gi or more; a pod needs 44.8 GiB of disk, and"
        " scratchSize of profile default is 20Gi; the platform team sets it to 45Gi or more."
    )
