"""For how many workers a Ray cluster has a place."""

import pytest

from kubetune_trainer.ray_runtime import slots


def test_where_each_worker_needs_a_gpu_nodes_are_awaited_and_not_their_gpus() -> None:
    """What they have is judged once they are there: a node whose GPU is gone would be waited for without an end."""
    assert slots({"CPU": 16.0, "GPU": 8.0}, needs_gpu=True) == 16


@pytest.mark.parametrize(
    ("resources", "workers"),
    [
        pytest.param({"memory": 4e9, "node:10.0.0.1": 1.0}, 0, id="a head alone, which computes nothing"),
        pytest.param({"CPU": 4.0}, 4, id="CPUs, as the nodes were told"),
        pytest.param({"CPU": 4.0, "GPU": 2.0}, 2, id="GPUs, whatever the CPUs"),
        pytest.param({"CPU": 0.5}, 0, id="half a CPU is no place"),
        pytest.param({"CPU": 2.0, "GPU": 0.0}, 2, id="a node that lost its GPUs"),
    ],
)
def test_each_worker_needs_a_gpu_or_where_there_are_none_a_cpu(resources: dict[str, float], workers: int) -> None:
    assert slots(resources) == workers
