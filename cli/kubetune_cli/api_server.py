"""The one doorway to a cluster: a kubeconfig or the pod's own account, and the few things that the commands read.

Everything here is a GET. Importing the client takes a second, so only the commands that need a cluster import this.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3
import yaml
from kubernetes import client
from kubernetes.config import ConfigException, load_incluster_config
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from kubetune_api.base import API_VERSION
from kubetune_api.labels import JOB, JOB_UID
from kubetune_api.sentences import closest
from kubetune_cli.api_errors import JOBS, Ask, refusal
from kubetune_cli.jobs import ClusterError, Job, LogLine, Object, Pod, UnreachableError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 30.0
_WATCH_SECONDS = 60
"""How long a watch lasts before it is asked for anew. Short: a connection that died unseen is noticed after it."""
_PAGE = 500
# What the node has to say itself stands without a time.
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\S+) ?(.*)", re.DOTALL)


def connect(context: str | None = None, namespace: str | None = None) -> "Kubernetes":
    """The cluster of a context of the kubeconfig, of its current one, or the one that this pod runs in."""
    configuration = client.Configuration()
    # The commands say at once what does not work; what follows something asks again by itself.
    configuration.retries = False
    configuration.keep_alive = True
    own = _configure(configuration, context)
    return Kubernetes(client.ApiClient(configuration), namespace or own)


def _configure(configuration: Any, context: str | None) -> str:
    """Sets server and credentials; returns the namespace that goes with them."""
    try:
        files = KubeConfigMerger(os.environ.get("KUBECONFIG") or "~/.kube/config")
        if files.config is None:
            return _configure_in_cluster(configuration, context)
        loader = KubeConfigLoader(
            files.config, _checked(context, files), config_base_path=None, config_persister=files.save_changes
        )
        loader.load_and_set(configuration)
    except (ConfigException, OSError, yaml.YAMLError, TypeError, AttributeError) as error:
        raise ClusterError(f"The kubeconfig cannot be used: {error}; correct it, or set KUBECONFIG.") from None
    return str(loader.current_context["context"].get("namespace") or "default")


def _checked(context: str | None, files: KubeConfigMerger) -> str | None:
    known = [found["name"] for found in files.config.value["contexts"]]
    if context is not None and context not in known:
        meant = closest(context, known)
        hint = f"perhaps `{meant}` is meant" if meant else f"it has {', '.join(known) or 'none'}"
        raise ClusterError(f"The kubeconfig has no context {context}; {hint}.")
    return context


def _configure_in_cluster(configuration: Any, context: str | None) -> str:
    if context is not None:
        raise ClusterError(f"There is no kubeconfig to take the context {context} from; set KUBECONFIG to its file.")
    try:
        load_incluster_config(client_configuration=configuration)
        return _ACCOUNT.read_text("utf-8").strip()
    except (ConfigException, OSError):
        raise ClusterError(
            "No cluster is configured: there is no kubeconfig (KUBECONFIG, or .kube/config in the home folder), and"
            " this is not a pod of a cluster; get a kubeconfig from the cluster's administrators."
        ) from None


class Kubernetes:
    """A cluster; see `kubetune_cli.jobs.Cluster`."""

    def __init__(self, api: Any, namespace: str) -> None:
        self._api = api
        self.namespace = namespace

    def jobs(self, *, everywhere: bool = False) -> list[Job]:
        """See `Cluster`."""
        namespace = None if everywhere else self.namespace
        found = self._list(Ask("list", JOBS, namespace), _jobs_path(namespace))
        return sorted(map(Job.parse, found), key=lambda job: (job.namespace, job.name))

    def job(self, name: str) -> Job:
        """See `Cluster`."""
        path = f"{_jobs_path(self.namespace)}/{quote(name, safe='')}"
        return Job.parse(self._object(Ask("get", JOBS, self.namespace, name), path))

    def watch(self, job: Job) -> Iterator[Job]:
        """See `Cluster`."""
        ask = Ask("watch", JOBS, job.namespace, job.name)
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={job.name}",
            "resourceVersion": job.version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        with self._get(ask, _jobs_path(job.namespace), query, _WATCH_SECONDS + _ANSWER_SECONDS) as response:
            for line in _lines(response):
                event = json.loads(line)
                # The end of what this watch can tell: the job is gone, or the version too old.
                if event["type"] not in ("ADDED", "MODIFIED") or event["object"]["metadata"]["uid"] != job.uid:
                    return
                yield Job.parse(event["object"])

    def pods(self, job: Job) -> list[Pod]:
        """See `Cluster`."""
        path = f"/api/v1/namespaces/{quote(job.namespace, safe='')}/pods"
        found = self._list(Ask("list", "pods", job.namespace), path, {"labelSelector": f"{JOB}={job.name}"})
        # Pods of an earlier job of the same name may still be on their way out.
        own = (pod for pod in found if pod["metadata"]["labels"].get(JOB_UID, job.uid) == job.uid)
        pods = [pod for pod in map(Pod.parse, own) if pod is not None]
        return sorted(pods, key=lambda pod: (pod.created, pod.name))

    def log(self, pod: Pod, *, follow: bool = False, tail: int | None = None, since: str = "") -> Iterator[LogLine]:
        """See `Cluster`."""
        ask = Ask("get", "pods/log", pod.namespace, pod.name)
        path = f"/api/v1/namespaces/{quote(pod.namespace, safe='')}/pods/{quote(pod.name, safe='')}/log"
        query = {"container": pod.container, "timestamps": "true"}
        query |= {"follow": "true"} if follow else {}
        query |= {"tailLines": str(tail)} if tail is not None else {}
        query |= {"sinceTime": since} if since else {}
        with self._get(ask, path, query, None if follow else _ANSWER_SECONDS) as response:
            for line in _lines(response):
                stamped = _STAMPED.match(line)
                yield LogLine(stamped[1], stamped[2]) if stamped else LogLine("", line)

    def _list(self, ask: Ask, path: str, query: dict[str, str] | None = None) -> list[Object]:
        items: list[Object] = []
        page = {**(query or {}), "limit": str(_PAGE)}
        while True:
            found = self._object(ask, path, page)
            items += found["items"]
            if not found["metadata"].get("continue"):
                return items
            page["continue"] = found["metadata"]["continue"]

    def _object(self, ask: Ask, path: str, query: dict[str, str] | None = None) -> Object:
        with self._get(ask, path, query or {}, _ANSWER_SECONDS) as response:
            found: Object = json.loads(response.data)
            return found

    @contextmanager
    def _get(self, ask: Ask, path: str, query: dict[str, str], seconds: float | None) -> Iterator[urllib3.HTTPResponse]:
        """The open answer to a GET; whatever goes wrong until it is closed is a ClusterError."""
        server = self._api.configuration.host
        try:
            request = self._api.param_serialize(
                "GET",
                path,
                query_params=list(query.items()),
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
            )
            response = self._api.call_api(*request, _request_timeout=(_CONNECT_SECONDS, seconds)).response
            with response:
                if response.status >= 400:
                    raise refusal(response.status, response.data.decode(errors="replace"), ask, server)
                yield response
        except client.ApiException as error:  # the client's own word for an error of TLS
            raise UnreachableError(f"The cluster at {server} {_distrust(error.reason)}.") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"The cluster at {server} {_outage(error)}.") from None
        except json.JSONDecodeError:
            raise ClusterError(f"The server at {server} is not an API server; correct the kubeconfig.") from None


def _jobs_path(namespace: str | None) -> str:
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace is not None else ""
    return f"/apis/{API_VERSION}{within}/{JOBS.partition('.')[0]}"


def _lines(response: urllib3.HTTPResponse) -> Iterator[str]:
    """The lines of an answer as they come."""
    rest = b""
    for piece in response.stream():
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


def _distrust(reason: str) -> str:
    words = reason.splitlines()[-1][:200]
    return f"cannot be reached securely ({words}); correct server and certificate-authority in the kubeconfig"


def _outage(error: Exception) -> str:
    remedy = "check the network or the VPN, and whether the context is the right one"
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # which is a ConnectTimeoutError, too
        return f"cannot be reached; {remedy}"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError | urllib3.exceptions.ReadTimeoutError):
        return f"does not answer in time; {remedy}"
    return "broke the connection; try again"
