"""A real Prometheus (Debian's) that scrapes a cluster's pods and knows the chart's alerts."""

import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kubetune_api.labels import JOB
from servers.processes import Process, accepts_connections

ALERTS = Path(__file__).parents[2] / "charts" / "kubetune" / "files" / "alerts.yaml"
SCRAPE_SECONDS = 5


class Prometheus:
    """The server; its samples go with the folder."""

    def __init__(self, folder: Path, *, address: str, port: int = 9090) -> None:
        self.folder, self.address, self.port = folder, address, port
        self._process: Process | None = None

    def start(self) -> None:
        """Starts it, without anything to scrape yet."""
        self.folder.mkdir(exist_ok=True)
        self.find([])
        # As the chart's PodMonitors: a run may show Ray's metrics, and cannot say whose they are.
        rays = {"source_labels": ["__name__"], "regex": "ray_.*", "action": "keep"}
        jobs = [
            {"job_name": "operator", "honor_labels": True, **self._found("operator")},
            {"job_name": "runs", "metric_relabel_configs": [rays], "sample_limit": 20000, **self._found("runs")},
        ]
        configuration = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": jobs,
        }
        file = self.folder / "prometheus.json"
        file.write_text(json.dumps(configuration))  # every JSON document is a YAML one
        command = (
            "prometheus",
            *("--config.file", file, "--storage.tsdb.path", self.folder / "samples"),
            *("--web.listen-address", f"{self.address}:{self.port}"),
        )
        self._process = Process(map(str, command), log=self.folder / "prometheus.log")
        self._process.wait_until(lambda: accepts_connections(self.port, self.address))

    def _found(self, name: str) -> dict[str, Any]:
        return {"file_sd_configs": [{"files": [str(self._targets(name))]}]}

    def _targets(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def find(self, pods: list[dict[str, Any]]) -> None:
        """Scrapes these pods at every port that they name `metrics`. Debian's Prometheus cannot ask Kubernetes."""
        found: dict[str, list[dict[str, Any]]] = {"operator": [], "runs": []}
        for pod in pods:
            metadata = pod["metadata"]
            labels = {"namespace": metadata["namespace"], "pod": metadata["name"]}
            ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
            targets = [f"{pod['status']['podIP']}:{port['containerPort']}" for port in ports if _shows(pod, port)]
            if targets:
                kind = "runs" if JOB in metadata.get("labels", {}) else "operator"
                found[kind].append({"targets": targets, "labels": labels})
        for name, groups in found.items():
            unfinished = self._targets(name).with_suffix(".unfinished")
            unfinished.write_text(json.dumps(groups))
            unfinished.rename(self._targets(name))

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression now, or over time where it says so: each with `metric` and `value`."""
        return list(self.ask("query", query=expression)["result"])

    def ask(self, what: str, **arguments: object) -> dict[str, Any]:
        """The data of one answer of its API, version 1."""
        url = f"http://{self.address}:{self.port}/api/v1/{what}?{urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return dict(json.load(answer)["data"])


def _shows(pod: dict[str, Any], port: dict[str, Any]) -> bool:
    return port.get("name") == "metrics" and "podIP" in pod["status"]
