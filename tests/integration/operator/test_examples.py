"""The example for a cluster does what its page says."""

from pathlib import Path

import yaml

from servers.control_plane import ControlPlane
from servers.kubelet import Kubelet
from support.operator_process import GROUP, RESTRICTED, Operator, SimulatedJob

EXAMPLE = Path(__file__).parents[3] / "examples" / "cluster.yaml"


def test_the_example_becomes_a_ray_job_of_two_pods_of_four_workers_each(
    plane: ControlPlane, node: Kubelet, operator: Operator
) -> None:
    profile, manifest = yaml.safe_load_all(EXAMPLE.read_text())
    plane.make_namespace("team-a", **RESTRICTED, **{"example.com/tier": "research"})
    assert plane.apply(f"{GROUP}/finetuneprofiles/a100-80g", profile).accepted
    job = SimulatedJob(plane, node, "team-a", "bert-reviews")
    answer = plane.apply(job.path, manifest)
    assert answer.accepted, answer.message
    job.wait_until(lambda status: status.get("attempts"))
    plane.wait_for(f"/apis/ray.io/v1/namespaces/{job.namespace}/rayjobs", lambda found: bool(found["items"]))
    (group,) = job.ray_jobs()[0]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["replicas"], group["rayStartParams"]["num-cpus"]) == (2, "4")
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "32", "memory": str(4 * 64 * 2**30), "nvidia.com/gpu": "4"}
