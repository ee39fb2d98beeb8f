"""Jobs on the real cluster: nothing of them is simulated."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from obstore.store import S3Store

from cluster.install import Administrator
from servers.build import CALLERS_ENVIRONMENT, only_one
from servers.kube_client import Object
from servers.s3 import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from support.tiny_models import saved, tiny_model
from support.tiny_runs import hard_rows, write_csv

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 600.0
ASSETS, RESULTS = "s3://assets", "s3://results"
TERMINAL = ("Succeeded", "Failed")


@dataclass
class RealJob:
    """A job in the cluster."""

    admin: Administrator
    namespace: str
    name: str
    spec: dict[str, Any]

    def apply(self) -> "RealJob":
        """Applies it as its author does."""
        body = {
            "apiVersion": "kubetune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": self.spec,
        }
        self.admin.kubectl("apply", "-f", "-", stdin=json.dumps(body))
        return self

    def change(self, **spec: Any) -> None:
        """Changes fields of its spec."""
        patch = json.dumps({"spec": spec})
        self._kubectl("patch", "finetunejob", self.name, "--type", "merge", "--patch", patch)

    @property
    def stored(self) -> Object:
        """What the API server has of it."""
        return dict(json.loads(self._kubectl("get", "finetunejob", self.name, "-o", "json")))

    @property
    def status(self) -> Object:
        """Its status."""
        return dict(self.stored.get("status", {}))

    def wait_for(self, holds: Callable[[Object], object], seconds: float = WAIT_SECONDS) -> Object:
        """Its status, once this holds of it."""
        deadline = time.monotonic() + seconds
        while not holds(status := self.status):
            if time.monotonic() > deadline or (status.get("phase") in TERMINAL and not holds(status)):
                raise AssertionError(f"{self.name} is not what the test waits for:\n{self.evidence()}")
            time.sleep(1)
        return status

    def end(self) -> Object:
        """Its status at its end."""
        return self.wait_for(lambda status: status.get("phase") in TERMINAL)

    def training(self) -> Object:
        """Its status once it trains."""
        return self.wait_for(lambda status: status.get("progress", {}).get("step", 0) > 0)

    def saved(self) -> int:
        """The step of a checkpoint that its running attempt has committed, once there is one."""
        status = self.wait_for(lambda status: status.get("checkpoint", {}).get("time"))
        return int(status["checkpoint"]["step"])

    def goes_on(self) -> None:
        """Returns once its status shows a step that it had not done before."""
        before = self.status["progress"]["step"]
        self.wait_for(lambda status: status["phase"] == "Running" and status["progress"]["step"] > before)

    def pods(self, role: str = "") -> dict[str, str]:
        """Its pods, of one role or of all: name to phase."""
        selector = f"kubetune.dev/job={self.name}" + (f",kubetune.dev/role={role}" if role else "")
        found = self._kubectl("get", "pods", "-l", selector, "-o", "json")
        return {pod["metadata"]["name"]: pod["status"].get("phase", "") for pod in json.loads(found)["items"]}

    def running_pods(self) -> list[str]:
        """Its pods that have not ended."""
        return [name for name, phase in self.pods().items() if phase not in ("Succeeded", "Failed")]

    def kill(self, role: str) -> None:
        """Kills its pod of the role at once, or one of them."""
        (pod, *_) = self.pods(role)
        self._kubectl("delete", "pod", pod, "--force", "--grace-period", "0")

    def drain(self, role: str) -> None:
        """Ends its pod of the role, or one of them, as a node that is drained does: with the time that it asks for."""
        (pod, *_) = self.pods(role)
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        self.admin.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))

    def freeze(self, role: str) -> None:
        """Stops the processes of its pod of the role, or of one of them: it hears nothing more."""
        (pod, *_) = self.pods(role)
        uid = json.loads(self._kubectl("get", "pod", pod, "-o", "json"))["metadata"]["uid"]
        files = list(Path("/sys/fs/cgroup").glob(f"**/pod{uid}/**/cgroup.procs"))
        assert files, f"no processes of {pod} are found"
        for process in " ".join(file.read_text() for file in files).split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGSTOP)

    def wait_until_gone(self, left: Callable[[], object]) -> None:
        """Returns once nothing is left of what this tells."""
        deadline = time.monotonic() + 120
        while found := left():
            if time.monotonic() > deadline:
                raise AssertionError(f"{found} is left:\n{self.evidence()}")
            time.sleep(1)

    def published(self) -> list[str]:
        """What lies in object storage of it, relative to its folder there."""
        bucket = bucket_at(self.admin.s3, RESULTS)
        return [meta["path"].removeprefix(self._root) for page in bucket.list(self._root) for meta in page]

    def fetch(self, path: str) -> bytes:
        """One of these."""
        return bytes(bucket_at(self.admin.s3, RESULTS).get(self._root + path).bytes())

    def fetch_model(self, folder: Path) -> Path:
        """Its model, in a new folder."""
        folder.mkdir()
        for path in self.published():
            if "/model/" in path:
                (folder / Path(path).name).write_bytes(self.fetch(path))
        return folder

    @cached_property
    def _root(self) -> str:
        return f"{self.namespace}/{self.name}/{self.stored['metadata']['uid']}/"

    def left(self) -> list[str]:
        """What there is of it in its namespace besides itself."""
        return sorted(self.uids())

    def uids(self) -> dict[str, str]:
        """The objects that were made for it, each by kind and name: to its UID."""
        kinds = "rayjobs,rayclusters,jobs,pods,services,secrets,configmaps,roles,rolebindings,serviceaccounts"
        found = [(each["kind"], each["metadata"]) for each in self.made(kinds)]
        return {f"{kind}/{metadata['name']}": metadata["uid"] for kind, metadata in found}

    def made(self, kinds: str) -> list[Object]:
        """Its objects of these kinds, in plural and with commas between them."""
        items = json.loads(self._kubectl("get", kinds, "-o", "json"))["items"]
        return [each for each in items if each["metadata"]["name"].startswith(f"{self.name}-")]

    def names(self, kind: str) -> list[str]:
        """The names of those of one kind."""
        return [each["metadata"]["name"] for each in self.made(kind)]

    def evidence(self) -> str:
        """What a person would look at."""
        describe = self._kubectl("describe", "finetunejob", self.name)
        pods = self._kubectl("get", "pods", "-o", "wide")
        events = self._kubectl("get", "events", "--sort-by", ".lastTimestamp")[-4000:]
        logs = self.admin.kubectl(
            *("logs", "--namespace", self.namespace, "-l", f"kubetune.dev/job={self.name}", "--tail", 60),
            *("--all-containers", "--prefix", "--max-log-requests", 10),
            check=False,
        )
        return "\n".join((describe, pods, events, logs))

    def _kubectl(self, *arguments: str) -> str:
        return self.admin.kubectl("--namespace", self.namespace, *arguments)


def bucket_at(s3: S3Server, uri: str) -> S3Store:
    """The bucket, as a client sees it."""
    return S3Store(
        uri.removeprefix("s3://"),
        endpoint=s3.endpoint,
        region=REGION,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True},
    )


def metrics_of(status: Object) -> dict[str, float]:
    """The metrics of a status by their names."""
    return {metric["name"]: metric["value"] for metric in status["metrics"]}


def upload_assets(s3: S3Server) -> str:
    """Puts the examples' models and data, and a tiny model and its data, onto the S3 server; their URI.

    One process at a time: a job that reads them refuses a file that is put anew meanwhile.
    """
    with only_one("uploaded-assets"):
        return _upload_assets(s3)


def _upload_assets(s3: S3Server) -> str:
    fetch = [sys.executable, "scripts/assets.py", "minilm", "reviews", "smollm2", "dialogues"]
    subprocess.run(fetch, cwd=ROOT, env=CALLERS_ENVIRONMENT, check=True)
    for uri in (ASSETS, RESULTS):
        s3.make_bucket(uri.removeprefix("s3://"))
    bucket = bucket_at(s3, ASSETS)
    there = {meta["path"]: meta["size"] for page in bucket.list() for meta in page}
    with TemporaryDirectory(prefix="assets") as folder:
        tiny = Path(folder) / "tiny"
        (tiny / "model").mkdir(parents=True)
        saved(tiny_model("bert", labels=2), tiny / "model")
        write_csv(tiny / "rows.csv", ("text", "label"), hard_rows(2000))
        for root in (ROOT / ".assets", Path(folder)):
            for file in root.rglob("*"):
                path = file.relative_to(root).as_posix()
                if file.is_file() and there.get(path) != file.stat().st_size:
                    bucket.put(path, file)
    return ASSETS


def example(name: str) -> dict[str, Any]:
    """The spec of an example, with its files on the S3 server."""
    text = (ROOT / "examples" / f"{name}.yaml").read_text()
    text = text.replace("file://../.assets", ASSETS).replace("file://../kubetune-output", RESULTS)
    return dict(yaml.safe_load(text)["spec"])


def tiny_job(**spec: Any) -> dict[str, Any]:
    """The spec of a job that trains for seconds, on two workers."""
    return {
        "model": {"uri": f"{ASSETS}/tiny/model"},
        "task": {"type": "SequenceClassification", "maxLength": 32},
        "dataset": {"uri": f"{ASSETS}/tiny/rows.csv", "columns": {"text": "text", "label": "label"}},
        "training": {"epochs": 1, "globalBatchSize": 32, "learningRate": 1e-3},
        "resources": {"workers": 2},
        "zero": {"stage": 2},
        "output": {"uri": RESULTS},
        **spec,
    }


def a_minute(**spec: Any) -> dict[str, Any]:
    """The spec of one that trains for about a minute, and on a fast machine for long enough to be killed meanwhile.

    An attempt that follows goes on from the last checkpoint.
    """
    training = {"epochs": 8, "globalBatchSize": 16, "checkpoints": {"everySteps": 50}}
    return tiny_job(training=training, **spec)


def long_job(**spec: Any) -> dict[str, Any]:
    """The spec of one that trains for minutes, unless something ends it."""
    training = {"epochs": 200, "globalBatchSize": 16, "maxSteps": 20000, "checkpoints": {"everySteps": 100}}
    return tiny_job(training=training, **spec)
