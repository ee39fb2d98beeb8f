"""The Helm chart as Helm renders it, and the rights that it gives to the operator."""

import importlib.util
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import yaml

from servers.build import SERVERS, binary

CHART = Path(__file__).parents[2] / "charts" / "kubetune"
RELEASE, NAMESPACE = "kubetune", "kubetune-system"
FULL_VALUES: Mapping[str, Any] = {
    "image": {"repository": "registry.example/operator", "digest": f"sha256:{'a' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "trainer": {"image": {"repository": "registry.example/trainer", "tag": "1.2.3"}},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "control-plane", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"example.com/team": "platform"},
    "podLabels": {"team": "platform"},
    "serviceAccount": {"name": "operator", "annotations": {"example.com/identity": "operator"}},
    "defaultProfile": {"create": True, "spec": {"accelerator": {"memory": "80Gi"}, "limits": {"maxWorkers": 8}}},
    "monitoring": {
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "service": {"enabled": True, "annotations": {"prometheus.io/scrape": "true"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True, "annotations": {"folder": "kubetune"}},
    },
}
"""Values that make everything which the chart can make."""
Object = dict[str, Any]


@dataclass(frozen=True, order=True)
class Rule:
    """One right of the operator."""

    api_group: str
    resource: str
    verb: str
    namespace: str = ""
    """Where it holds; empty: everywhere."""
    name: str = ""
    """The one object that it is about; empty: all."""


def helm(
    *arguments: object, values: Mapping[str, Any] | None = None, kubeconfig: Path = Path(os.devnull)
) -> subprocess.CompletedProcess[str]:
    """Runs Helm with these values, in folders of its own: nothing of the user's counts."""
    with TemporaryDirectory(prefix="helm") as folder:
        homes = {f"HELM_{what}_HOME": f"{folder}/{what}" for what in ("CACHE", "CONFIG", "DATA")}
        file = Path(folder) / "values.yaml"
        file.write_text(yaml.safe_dump(dict(values or {})))
        return subprocess.run(
            [binary("helm"), *map(str, arguments), *(("--values", file) if values else ())],
            env={**os.environ, **homes, "HOME": folder, "KUBECONFIG": str(kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
        )


def template(values: Mapping[str, Any] | None = None, *more: str) -> subprocess.CompletedProcess[str]:
    """Renders the chart; `more` are further arguments of Helm."""
    # Helm learns the version of Kubernetes from the one it was released with, and this one was built by us.
    version = ("--kube-version", SERVERS["kube-apiserver"].version)
    return helm("template", RELEASE, CHART, "--namespace", NAMESPACE, *version, *more, values=values)


def rendered(values: Mapping[str, Any] | None = None, *more: str) -> list[Object]:
    """The objects of a release with these values."""
    done = template(values, *more)
    assert done.returncode == 0, done.stderr
    return [thing for thing in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if thing]


def chart_rules() -> list[Rule]:
    """Every right of the operator's ServiceAccount, one by one, each only once."""
    objects = rendered()
    roles = {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects if "rules" in thing}
    (account,) = (thing["metadata"]["name"] for thing in objects if thing["kind"] == "ServiceAccount")
    bindings = [
        thing
        for thing in objects
        if thing["kind"] in ("ClusterRoleBinding", "RoleBinding")
        and {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE} in thing["subjects"]
    ]
    return sorted(
        {
            Rule(group, resource, verb, binding["metadata"].get("namespace", ""), name)
            for binding in bindings
            for rule in roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            for name in rule.get("resourceNames", [""])
        }
    )


def script(name: str) -> ModuleType:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", CHART.parents[1] / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of a kind, or the one with the name."""
    (found,) = (thing for thing in objects if thing["kind"] == kind and name in (None, thing["metadata"]["name"]))
    return found
