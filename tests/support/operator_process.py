"""The operator as a process of its own, on a real control plane, and the jobs that tests give it."""

import copy
import json
import secrets
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubetune_api.run_report import KEY
from servers.control_plane import OUR_CRDS, ControlPlane
from servers.kube_client import KubeClient, Object
from servers.kubelet import Kubelet
from servers.processes import Process, free_port
from support.job_cases import JOB

GROUP = "/apis/kubetune.dev/v1alpha1"
RAY = "/apis/ray.io/v1"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
QUICK = {
    "KUBETUNE_PROGRESS_SECONDS": "0.2",
    "KUBETUNE_STUCK_SECONDS": "2",
    "KUBETUNE_RESYNC_SECONDS": "20",
    "KUBETUNE_REFUSAL_SECONDS": "5",
    "KUBETUNE_LOG_FORMAT": "text",
}
"""Times that a test can wait for."""


class Operator:
    """One replica; as many as wanted may run at once, where each has a name of its own."""

    def __init__(self, kubeconfig: Path, folder: Path, *, namespace: str, name: str = "one", **settings: str) -> None:
        self.log, self.port, self.health_port = folder / f"operator-{name}.log", free_port(), free_port()
        self._environment = {
            **QUICK,
            "KUBECONFIG": str(kubeconfig),
            "KUBETUNE_NAMESPACE": namespace,
            "KUBETUNE_IDENTITY": name,
            "KUBETUNE_METRICS_HOST": "127.0.0.1",
            "KUBETUNE_METRICS_PORT": str(self.port),
            "KUBETUNE_HEALTH_PORT": str(self.health_port),
            "KUBETUNE_TRAINER_IMAGE": "kubetune-trainer:test",
            **{f"KUBETUNE_{key.upper()}": value for key, value in settings.items()},
        }
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The running process."""
        assert self._process is not None, "the operator is not running"
        return self._process

    def start(self, *, until_ready: bool = True) -> None:
        """Starts it; returns when it knows the cluster."""
        command = (sys.executable, "-m", "kubetune_operator")
        self._process = Process(command, log=self.log, env=self._environment)
        if until_ready:
            self._process.wait_until(lambda: self.get("/readyz") == "ok\n")

    def stop(self) -> None:
        """Ends it as Kubernetes would: SIGTERM, then SIGKILL."""
        self.process.terminate()
        self._process = None

    def kill(self) -> None:
        """Ends it by SIGKILL: it can do nothing about it."""
        self.process.stop()

    def get(self, path: str) -> str | None:
        """What it answers over HTTP; None if it does not."""
        port = self.port if path == "/metrics" else self.health_port
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric that have these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = (line for line in (self.get("/metrics") or "").splitlines() if not line.startswith("#"))
        samples = (line.rpartition(" ") for line in lines if line.split("{")[0].split(" ")[0] == name)
        return sum(float(value) for series, _, value in samples if all(label in series for label in wanted))


@contextmanager
def running(operator: Operator) -> Iterator[Operator]:
    """The operator, as long as the `with` lasts."""
    operator.start()
    try:
        yield operator
    finally:
        operator.stop()


def install(plane: ControlPlane) -> None:
    """Our CRDs, the operator's namespace and a profile named `default`."""
    plane.install_crds(OUR_CRDS)
    plane.make_namespace("kubetune-system")
    make_profile(plane, "default")


def make_profile(client: KubeClient, name: str, **spec: Any) -> None:
    """A profile whose pods fit onto a simulated node."""
    small = {
        "image": "kubetune-trainer:test",
        "worker": {"cpu": "500m", "memory": "1Gi"},
        "head": {"cpu": "500m", "memory": "1Gi"},
        "sharedMemorySize": "128Mi",
    }
    body = {
        "apiVersion": "kubetune.dev/v1alpha1",
        "kind": "FineTuneProfile",
        "metadata": {"name": name},
        "spec": {**small, **spec},
    }
    answer = client.apply(f"{GROUP}/finetuneprofiles/{name}", body)
    assert answer.accepted, answer.message


def job_body(name: str, **spec: Any) -> Object:
    """A right manifest for a cluster; `spec` replaces whole parts of its spec."""
    body = copy.deepcopy(JOB)
    body["metadata"] = {"name": name}
    body["spec"]["model"] = {"uri": "s3://models/minilm"}
    body["spec"]["dataset"]["uri"] = "s3://data/reviews.csv"
    body["spec"]["output"] = {"uri": "s3://results/out"}
    body["spec"]["retry"] = {"backoffSeconds": 0}
    body["spec"] |= spec
    return body


@dataclass
class SimulatedJob:
    """A job in the cluster, and the parts of the trainer, the kubelet and Ray in its life."""

    plane: ControlPlane
    kubelet: Kubelet
    namespace: str
    name: str = field(default_factory=lambda: f"job-{secrets.token_hex(3)}")

    @property
    def path(self) -> str:
        """Where the job is."""
        return f"{GROUP}/namespaces/{self.namespace}/finetunejobs/{self.name}"

    def apply(self, **spec: Any) -> "SimulatedJob":
        """Creates the job."""
        answer = self.plane.create(self.path.rpartition("/")[0], job_body(self.name, **spec))
        assert answer.accepted, answer.message
        return self

    def change(self, **spec: Any) -> None:
        """Changes fields of its spec."""
        answer = self.plane.merge(self.path, {"spec": spec})
        assert answer.accepted, answer.message

    @property
    def stored(self) -> Object:
        """The job."""
        return self.plane.get(self.path).body

    @property
    def status(self) -> Object:
        """Its status."""
        return dict(self.stored.get("status", {}))

    def wait_for(self, **fields: Any) -> Object:
        """Its status, once it has these fields."""
        return self.wait_until(lambda status: fields.items() <= status.items())

    def wait_until(self, holds: Callable[[Object], object]) -> Object:
        """Its status, once this holds of it."""
        found = self.plane.wait_for(self.path, lambda found: bool(holds(found.get("status", {}))))
        return dict(found["status"])

    def ray_jobs(self) -> list[Object]:
        """Its RayJobs, oldest first."""
        found = self.plane.get(f"{RAY}/namespaces/{self.namespace}/rayjobs", labelSelector=self._own).body["items"]
        return sorted(found, key=lambda ray_job: int(ray_job["metadata"]["labels"]["kubetune.dev/attempt"]))

    def pods(self, role: str = "") -> list[Object]:
        """Its pods, of one role or of all."""
        selector = self._own + (f",kubetune.dev/role={role}" if role else "")
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        return list(self.plane.get(path, labelSelector=selector).body["items"])

    def run_until_training(self, attempt: int = 1) -> str:
        """Simulates the cluster until Ray runs the driver; the id of the Ray job."""
        self.wait_until(lambda status: (status.get("attempts") or [{}])[-1].get("number") == attempt)
        name = self.status["attempts"][-1]["rayJob"]
        path = f"{RAY}/namespaces/{self.namespace}/rayjobs/{name}"
        taken_up = self.plane.wait_for(path, lambda found: bool(found.get("status", {}).get("jobId")))
        ray_id = str(taken_up["status"]["jobId"])
        # Before KubeRay asks for it: it asks again after three seconds.
        self.plane.heads.report(ray_id, "RUNNING")
        self.wait_for(phase="Running")
        return ray_id

    def say(self, attempt: int = 1, **report: Any) -> None:
        """Reports as the head of an attempt does."""
        text = json.dumps({"attempt": attempt, "execution": attempt, **report})
        self.write_report(text)

    def write_report(self, text: str) -> None:
        """Writes anything into the ConfigMap of the reports, as a tenant may."""
        uid = self.stored["metadata"]["uid"]
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{self.name}-{uid[:5]}-report"
        answer = self.plane.merge(path, {"data": {KEY: text}})
        assert answer.accepted, answer.message

    def say_succeeded(self, attempt: int = 1, accuracy: float = 0.9) -> None:
        """Reports a published model."""
        self.say(attempt, finished=self.success(accuracy))

    def say_failed(self, reason: str, message: str = "said by the test", attempt: int = 1) -> None:
        """Reports a failure."""
        self.say(attempt, finished=self.failure(reason, message))

    def failure(self, reason: str, message: str) -> Object:
        """The status of a run that failed, as the trainer makes it."""
        condition = {"type": "Failed", "status": "True", "reason": reason, "message": message}
        return {"phase": "Failed", "conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}

    def success(self, accuracy: float = 0.9) -> Object:
        """The status of a run that succeeded, as the trainer makes it."""
        uid = self.stored["metadata"]["uid"]
        root = f"s3://results/out/{self.namespace}/{self.name}/{uid}"
        condition = {"type": "Succeeded", "status": "True", "reason": "ModelPublished", "message": "Published."}
        return {
            "phase": "Succeeded",
            "conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "metrics": [{"name": "test/accuracy", "value": accuracy}],
            "artifact": {
                "uri": f"{root}/executions/1/model",
                "manifestUri": f"{root}/manifest.json",
                "reportUri": f"{root}/executions/1/report.html",
                "digest": f"sha256:{'0' * 64}",
                "sizeBytes": 90_000_000,
            },
        }

    def end_ray(self, ray_id: str, status: str = "SUCCEEDED") -> None:
        """Ray's driver has ended, and so has the submitter."""
        self.plane.heads.report(ray_id, status, "said by the dashboard")
        for pod in self.pods("submitter"):
            (self.kubelet.succeed if status == "SUCCEEDED" else self.kubelet.fail)(pod)

    @property
    def _own(self) -> str:
        return f"kubetune.dev/job={self.name}"


def comes_to_rest(seconds: float, count: Callable[[], float]) -> bool:
    """Whether a count to which the jobs of other tests add, too, stops growing for so many seconds within a minute."""
    deadline = time.monotonic() + 60
    while settled(seconds, count) and time.monotonic() < deadline:
        pass
    return time.monotonic() < deadline


def settled(seconds: float, count: Callable[[], float]) -> float:
    """What a count grows by in so many seconds. Before them, one second: who writes counts it once it is answered, and
    the API server showed what was written to the test before that."""
    time.sleep(1)
    before = count()
    time.sleep(seconds)
    return count() - before
