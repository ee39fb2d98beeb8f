"""What a platform team does to a cluster in which jobs run: it upgrades, uninstalls, and installs without KubeRay."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cluster import images
from cluster.install import KUBERAY, Administrator
from support.chart import NAMESPACE
from support.e2e_jobs import RealJob, a_minute, long_job, tiny_job

NewJob = Callable[..., RealJob]


@pytest.fixture
def as_it_was(admin: Administrator) -> Iterator[None]:
    """Whatever the test leaves, the next one finds KubeRay and kubetune installed."""
    yield
    admin.install_kuberay()
    admin.install_kubetune()


def operator_images(admin: Administrator) -> set[str]:
    pods = json.loads(admin.kubectl("get", "pods", "--namespace", NAMESPACE, "-o", "json"))["items"]
    return {pod["spec"]["containers"][0]["image"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


@contextmanager
def untouched(job: RealJob) -> Iterator[None]:
    """The job's pods and objects are the same ones afterwards."""
    before = job.uids()
    assert before
    yield
    assert job.uids() == before


@pytest.mark.usefixtures("as_it_was", "assets")
def test_a_job_does_not_notice_an_upgrade(admin: Administrator, new_job: NewJob) -> None:
    job = new_job("upgraded", **long_job()).apply()
    job.training()
    image = images.load_next_operator(admin.image_store)
    with untouched(job):
        repository, _, tag = image.rpartition(":")
        admin.install_kubetune(image={"repository": repository, "tag": tag})
        assert operator_images(admin) == {image}
        job.goes_on()


@pytest.mark.usefixtures("as_it_was", "assets")
def test_jobs_and_models_outlive_an_uninstallation(admin: Administrator, new_job: NewJob) -> None:
    model = new_job("model", **tiny_job()).apply()
    assert model.end()["phase"] == "Succeeded", model.evidence()
    published = model.published()
    trains, ends = new_job("trains", **long_job()).apply(), new_job("ends", **a_minute()).apply()
    trains.training()
    ends.training()
    with untouched(trains):
        admin.uninstall_kubetune()
        assert operator_images(admin) == set()
        assert model.status["phase"] == "Succeeded"
        assert model.published() == published != []
        admin.install_kubetune()
        trains.goes_on()
    status = ends.end()
    assert (status["phase"], len(status["attempts"])) == ("Succeeded", 1), ends.evidence()


@pytest.mark.usefixtures("as_it_was", "assets")
def test_a_job_waits_for_kuberay_and_begins_as_soon_as_it_is_there(admin: Administrator, new_job: NewJob) -> None:
    # Only KubeRay can let a RayJob go.
    admin.kubectl("delete", "finetunejobs", "--all", "--all-namespaces")
    admin.kubectl("delete", "rayjobs", "--all", "--all-namespaces", "--timeout", "120s")
    admin.remove(KUBERAY)
    job = new_job("early", **tiny_job()).apply()
    status = job.wait_for(lambda status: status.get("reason") == "KubeRayMissing")
    assert "install KubeRay" in status["message"]
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    assert conditions["Admitted"]["reason"] == "KubeRayMissing"
    admin.install_kuberay()
    assert job.end()["phase"] == "Succeeded", job.evidence()
