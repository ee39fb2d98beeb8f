"""The status that a kubelet writes for a pod: how each end of a container looks to a controller. Pure functions."""

from dataclasses import dataclass
from typing import Any

from servers.kube_client import Object

State = dict[str, dict[str, Any]]
"""`{"running": {…}}`, `{"waiting": {…}}` or `{"terminated": {…}}`."""


@dataclass(frozen=True)
class Exit:
    """How a container ended."""

    code: int = 0
    reason: str = "Completed"
    """`Completed`, `Error`, `OOMKilled`, `ContainerStatusUnknown`, …"""
    message: str = ""
    """What the container left in its termination log."""

    def at(self, now: str) -> State:
        """The container's state."""
        ended = {"exitCode": self.code, "reason": self.reason, "message": self.message, "finishedAt": now}
        return {"terminated": {**ended, "startedAt": now}}


OUT_OF_MEMORY = Exit(137, "OOMKilled")
KILLED = Exit(137, "Error")


def running(pod: Object, now: str) -> Object:
    """All containers run and are ready."""
    return {
        **_status(pod, "Running", now, ready=True),
        "initContainerStatuses": _containers(pod, "initContainers", Exit().at(now), ready=True),
        "containerStatuses": _containers(pod, "containers", {"running": {"startedAt": now}}, ready=True),
    }


def restarted(pod: Object, end: Exit, now: str, only: str = "") -> Object:
    """All containers, or only this one, ended and run again, as `restartPolicy: Always` wants."""
    before = {state["name"]: state.get("restartCount", 0) for state in pod["status"].get("containerStatuses", [])}
    status = running(pod, now)
    for container in _among(status["containerStatuses"], only):
        container.update(restartCount=before.get(container["name"], 0) + 1, lastState=end.at(now))
    return status


def ended(pod: Object, phase: str, end: Exit, now: str) -> Object:
    """All containers have ended, for good."""
    return {
        **_status(pod, phase, now, ready=False),
        "initContainerStatuses": _containers(pod, "initContainers", Exit().at(now), ready=True),
        "containerStatuses": _containers(pod, "containers", end.at(now), ready=False),
    }


def removed(pod: Object, reason: str, message: str, now: str) -> Object:
    """The kubelet ended the pod for a reason of the node: Evicted, Preempting, Terminated, NodeAffinity, …"""
    status = ended(pod, "Failed", KILLED, now)
    disruption = _condition("DisruptionTarget", "True", now, reason="TerminationByKubelet", message=message)
    return {**status, "reason": reason, "message": message, "conditions": [*status["conditions"], disruption]}


def waiting(pod: Object, reason: str, message: str, now: str, only: str = "") -> Object:
    """No container can start, or only this one cannot: ImagePullBackOff, CreateContainerConfigError, …"""
    containers = running(pod, now)["containerStatuses"]
    for container in _among(containers, only):
        container.update(state={"waiting": {"reason": reason, "message": message}}, ready=False, started=False)
    return {**_status(pod, "Pending", now, ready=False), "containerStatuses": containers}


def initialising(pod: Object, now: str) -> Object:
    """Its init containers run, and do not end."""
    return {
        **_status(pod, "Pending", now, ready=False),
        "initContainerStatuses": _containers(pod, "initContainers", {"running": {"startedAt": now}}, ready=False),
        "containerStatuses": _containers(pod, "containers", {"waiting": {"reason": "PodInitializing"}}, ready=False),
    }


def _among(containers: list[Object], only: str) -> list[Object]:
    return [container for container in containers if only in ("", container["name"])]


def address(pod: Object) -> str:
    """The pod's address, the same at every look."""
    parts = bytes.fromhex(pod["metadata"]["uid"][:6])
    return f"10.{parts[0]}.{parts[1]}.{parts[2]}"


def _status(pod: Object, phase: str, now: str, *, ready: bool) -> Object:
    own = {"PodReadyToStartContainers": True, "Initialized": True, "Ready": ready, "ContainersReady": ready}
    # What others wrote stays, above all the scheduler's PodScheduled.
    others = [condition for condition in pod["status"].get("conditions", []) if condition["type"] not in own]
    return {
        "phase": phase,
        "podIP": address(pod),
        "podIPs": [{"ip": address(pod)}],
        "startTime": pod["status"].get("startTime", now),
        "conditions": [*others, *(_condition(name, str(holds), now) for name, holds in own.items())],
    }


def _condition(name: str, status: str, now: str, **words: str) -> Object:
    return {"type": name, "status": status, "lastTransitionTime": now, **words}


def _containers(pod: Object, kind: str, state: State, *, ready: bool) -> list[Object]:
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": ready,
            "started": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"].get(kind, [])
    ]
