"""What a platform team installs: KubeRay, Kueue, kubetune by its chart, a profile, and namespaces for its teams."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from cluster import images
from servers.build import binary, configuration
from servers.s3 import REGION, S3Server
from support.chart import CHART, NAMESPACE, RELEASE, helm
from support.operator_process import RESTRICTED

SECRET = "s3-credentials"
WEBHOOK_SECONDS = 90.0
"""How long an operator may take from its start to its webhook's first answer."""


@dataclass(frozen=True)
class Operator:
    """One that comes with a kustomization in its Go module."""

    name: str
    namespace: str
    deployment: str
    image: str
    """The image that the kustomization names."""


KUBERAY = Operator("kuberay", "kuberay-system", "kuberay-operator", "quay.io/kuberay/operator")
KUEUE = Operator(
    "kueue", "kueue-system", "kueue-controller-manager", "us-central1-docker.pkg.dev/k8s-staging-images/kueue/kueue"
)

_POLICY = "/spec/template/spec/containers/0/imagePullPolicy"
_AS_IT_LIES_HERE = {"op": "add", "path": _POLICY, "value": "IfNotPresent"}


@dataclass(frozen=True)
class Administrator:
    """Who may do everything in the cluster."""

    kubeconfig: Path
    image_store: Path
    s3: S3Server

    def kubectl(self, *arguments: object, stdin: str = "", check: bool = True) -> str:
        """What kubectl prints; SystemExit with its words if it fails and `check` is set."""
        done = subprocess.run(
            [binary("kubectl"), *map(str, arguments)],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise SystemExit(f"kubectl {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Makes the objects, or changes them."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def apply_once_taken(self, *objects: Mapping[str, Any]) -> None:
        """The same, where a webhook may not answer yet."""
        deadline = time.monotonic() + WEBHOOK_SECONDS
        while True:
            try:
                return self.apply(*objects)
            except SystemExit:
                if time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def install_kuberay(self) -> None:
        """KubeRay from its module's own kustomization, as its documentation says; returns when it works."""
        self._install(KUBERAY)

    def install_kueue(self) -> None:
        """Kueue in the same way."""
        self._install(KUEUE)

    def install_kubetune(self, **values: Any) -> None:
        """This checkout's chart with images of this checkout; an upgrade where it is installed."""
        repositories = {
            target: images.load_target(target, self.image_store).rpartition(":") for target in images.TARGETS
        }
        image, trainer = ({"repository": repository, "tag": tag} for repository, _, tag in repositories.values())
        settings = {
            "image": image,
            "trainer": {"image": trainer},
            "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
            # Nobody waits five minutes for an image that is not there. Beside several jobs on two cores, a leader may
            # get no second of its own for a while.
            "operator": {"stuckSeconds": 45, "progressSeconds": 2, "leaseSeconds": 30, "renewSeconds": 20},
            "defaultProfile": {"create": True, "spec": self.profile()},
            **values,
        }
        self._helm("upgrade", "--install", RELEASE, CHART, "--create-namespace", values=settings)

    def uninstall_kubetune(self) -> None:
        """Removes the release."""
        self._helm("uninstall", RELEASE)

    def profile(self, **spec: Any) -> dict[str, Any]:
        """The spec of a profile for this node and this S3 server."""
        return {
            "description": "The one node of this machine, without a GPU",
            # Small requests: two jobs share two cores, and the node enforces no limit of the CPU.
            "worker": {"cpu": "200m", "memory": "3Gi"},
            "head": {"cpu": "200m", "memory": "3Gi"},
            "sharedMemorySize": "256Mi",
            "scratchSize": "5Gi",
            "endpoints": [{"scheme": "s3", "url": self.s3.endpoint, "region": REGION}],
            "egress": [{"cidr": f"{self.s3.address}/32", "ports": [self.s3.port]}],
            "credentials": [{"prefix": "s3://", "secretName": SECRET}],
            **spec,
        }

    def make_profile(self, name: str, **spec: Any) -> None:
        """Makes another one."""
        kind = {"apiVersion": "kubetune.dev/v1alpha1", "kind": "FineTuneProfile", "metadata": {"name": name}}
        self.apply({**kind, "spec": self.profile(**spec)})

    def make_team(self, name: str) -> str:
        """A namespace that enforces Pod Security `restricted`, with the team's Secret for the S3 server; its name."""
        keys = {key: value for key, value in self.s3.env.items() if key.startswith(("AWS_ACCESS", "AWS_SECRET"))}
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": SECRET, "namespace": name},
                "stringData": keys,
            },
        )
        return name

    @contextmanager
    def team(self, name: str = "team") -> Iterator[str]:
        """Such a namespace, whose name begins so, as long as the `with` lasts; all that is in it goes with it."""
        namespace = self.make_team(f"{name}-{secrets.token_hex(3)}")
        try:
            yield namespace
        finally:
            self.kubectl("delete", "namespace", namespace, "--wait=false")

    def remove(self, operator: Operator) -> None:
        """Removes such an operator with its CRDs; nothing of its kinds may be there any more."""
        with self._overlay(operator, "") as folder:
            self.kubectl("delete", "--ignore-not-found", "--timeout", "120s", "-k", folder)

    def _helm(self, *arguments: str | Path, values: Mapping[str, Any] | None = None) -> None:
        common = ("--namespace", NAMESPACE, "--wait", "--timeout", "3m")
        done = helm(*arguments, *common, values=values, kubeconfig=self.kubeconfig)
        if done.returncode:
            raise SystemExit(f"helm {arguments[0]}: {done.stderr}")

    def _install(self, operator: Operator) -> None:
        image = images.load_operator_of(operator.name, self.image_store)
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": operator.namespace}})
        with self._overlay(operator, image) as folder:
            self.kubectl("apply", "--server-side", "--force-conflicts", "-k", folder)
        deployment = f"deployment/{operator.deployment}"
        self.kubectl("rollout", "status", "--namespace", operator.namespace, deployment, "--timeout", "180s")

    @contextmanager
    def _overlay(self, operator: Operator, image: str) -> Iterator[str]:
        """A folder in which the kustomization of its module has our image."""
        base = configuration(operator.name)
        repository, _, tag = image.rpartition(":")
        with TemporaryDirectory(prefix="overlay", dir=base.parent) as folder:
            overlay = {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                **_namespace(operator, base / "default"),
                "resources": [os.path.relpath(base / "default", folder)],
                "images": [{"name": operator.image, "newName": repository, "newTag": tag}] if image else [],
                # There is no registry to ask for a newer one.
                "patches": [{"target": {"kind": "Deployment"}, "patch": json.dumps([_AS_IT_LIES_HERE])}],
            }
            (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
            yield folder


def _namespace(operator: Operator, base: Path) -> dict[str, str]:
    """Only where the module has another one: it would move also what belongs into other namespaces, as Kueue has it."""
    there = yaml.safe_load((base / "kustomization.yaml").read_text("utf-8")).get("namespace")
    return {} if there == operator.namespace else {"namespace": operator.namespace}
