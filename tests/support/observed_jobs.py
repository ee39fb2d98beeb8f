"""What the operator sees of a cluster, as a test says it: objects as the API server gives them, read by the real cache.

`see(job(), profile(), ray_job(deployment="Running"))` is a sight; `plan(…)` is what follows from it. Times are seconds
after `START`.
"""

import copy
import itertools
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from kubetune_api.run_report import KEY, RunReport
from kubetune_api.status import FineTuneJobStatus
from kubetune_api.times import timestamp
from kubetune_operator.jobs import names
from kubetune_operator.jobs.events import transitions_of
from kubetune_operator.jobs.fine_tune_job import FineTuneJobs
from kubetune_operator.jobs.kinds import FINE_TUNE_JOB
from kubetune_operator.jobs.metrics import JobMetrics
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.plans import JobPlan
from kubetune_operator.jobs.reconcile import reconcile
from kubetune_operator.machinery.cache import Cache
from kubetune_operator.machinery.entries import ObjectKey
from kubetune_operator.machinery.events import Regarding, event_of
from kubetune_operator.machinery.questions import Answer, Question
from kubetune_operator.settings import Settings

Object = dict[str, Any]

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
NAMESPACE, JOB, UID = "team-a", "reviews", "0a1b2c3d-0000-4000-8000-000000000001"
ROOT = f"s3://models/team-a/{NAMESPACE}/{JOB}/{UID}"
"""Where the job's run lies in object storage."""
REPORTS = names.reports(JOB, UID)
SETTINGS = Settings(trainer_image="trainer:1", identity="operator-0", stuck_seconds=300)
_versions = itertools.count(1)


def after(seconds: float) -> datetime:
    """A time."""
    return START + timedelta(seconds=seconds)


def at(seconds: float) -> str:
    """The same as the API server writes it."""
    return timestamp(after(seconds))


def job(status: Object | None = None, *, metadata: Object | None = None, **spec: Any) -> Object:
    """A FineTuneJob with fields of its spec as the manifest names them; `a__b` is the field `b` of `a`."""
    metadata = {"namespace": NAMESPACE, "name": JOB, "uid": UID, "generation": 1} | (metadata or {})
    return _object("FineTuneJob", "kubetune.dev/v1alpha1", metadata) | {
        "spec": _with(_JOB_SPEC, spec),
        **({"status": status} if status else {}),
    }


def profile(name: str = "default", **spec: Any) -> Object:
    """A FineTuneProfile."""
    return _object("FineTuneProfile", "kubetune.dev/v1alpha1", {"name": name, "uid": f"uid-of-{name}"}) | {
        "spec": _with({}, spec)
    }


def namespace(name: str = NAMESPACE, **labels: str) -> Object:
    """A namespace with labels, and with the one that each has."""
    labels = {"kubernetes.io/metadata.name": name} | labels
    return _object("Namespace", "v1", {"name": name, "uid": f"uid-of-{name}", "labels": labels})


def name_of(attempt: int) -> str:
    """The name of an attempt's RayJob."""
    return names.ray_job(JOB, UID, attempt)


def ray_job(
    attempt: int = 1,
    deployment: str = "",
    *,
    suspended: bool = False,
    deleting: bool = False,
    ended: float | None = None,
    uid: str | None = None,
    **status: Any,
) -> Object:
    """The RayJob of an attempt, and where KubeRay is with it; where it is Running, Ray runs the driver."""
    driver = {"jobStatus": "RUNNING"} if deployment == "Running" else {}
    status = {"jobDeploymentStatus": deployment} | driver | ({} if ended is None else {"endTime": at(ended)}) | status
    metadata = _owned(name_of(attempt), attempt, deleting=deleting) | {"uid": uid or f"uid-of-{name_of(attempt)}"}
    return _object("RayJob", "ray.io/v1", metadata) | {"spec": {"suspend": suspended}, "status": status}


def ray_cluster(attempt: int = 1, execution: int = 1, *conditions: Object) -> Object:
    """The RayCluster that KubeRay made for an attempt; it makes a new one each time that a queue admits it."""
    name = f"{name_of(attempt)}-{execution}"
    made = _object("RayCluster", "ray.io/v1", _owned(name, attempt) | {"uid": f"uid-of-{name}"})
    return made | {"status": {"conditions": list(conditions)}}


def pod(
    role: str = "worker",
    attempt: int = 1,
    number: int = 0,
    *,
    created: float = 0,
    deleting: bool = False,
    workers: int = 1,
    ready: bool = False,
    conditions: tuple[Object, ...] = (),
    container: Object | None = None,
    sidecar: Object | None = None,
    secrets: tuple[str, ...] = (),
    signing: str = "",
    node: str = "",
    **status: Any,
) -> Object:
    """A pod of an attempt; `container` is the state of its container, as `waiting(…)` and `terminated(…)` give it, and
    `sidecar` that of one that a webhook put before it."""
    name = f"{name_of(attempt)}-{role}-{number}"
    metadata = _owned(name, attempt, created=created, deleting=deleting)
    metadata["labels"] |= {names.ROLE: role} | ({names.WORKERS: str(workers)} if role == "worker" else {})
    shown = [*conditions, condition("Ready", "True" if ready else "False")]
    containers = [{"name": "istio-proxy", **sidecar}] if sidecar else []
    containers += [{"name": role, **container}] if container else []
    volumes = [{"name": f"v{place}", "secret": {"secretName": secret}} for place, secret in enumerate(secrets)]
    volumes += [{"name": "signing", "secret": {"secretName": signing}}] if signing else []
    return _object("Pod", "v1", metadata | {"uid": f"uid-of-{name}"}) | {
        "spec": {"nodeName": node, "volumes": [{"name": "scratch", "emptyDir": {}}, *volumes]},
        "status": {"phase": "Pending", "conditions": shown, "containerStatuses": containers} | status,
    }


def condition(
    kind: str, status: str = "True", reason: str = "", message: str = "", since: float | None = None
) -> Object:
    """A condition of a pod."""
    found = {"type": kind, "status": status, "reason": reason, "message": message}
    return found | ({} if since is None else {"lastTransitionTime": at(since)})


def waiting(reason: str, message: str = "") -> Object:
    """The state of a container that has not started."""
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def terminated(exit_code: int, reason: str = "Error", message: str = "") -> Object:
    """The state of a container that has ended."""
    return {"state": {"terminated": {"exitCode": exit_code, "reason": reason, "message": message}}}


def report(attempt: int = 1, *, uid: str = UID, in_namespace: str = NAMESPACE, **said: Any) -> Object:
    """The ConfigMap that the job's heads report to, with the word of an attempt."""
    text = RunReport.model_validate({"attempt": attempt, **said}).model_dump_json(by_alias=True, exclude_none=True)
    return report_text(text, uid=uid, in_namespace=in_namespace)


def report_text(text: str, *, uid: str = UID, in_namespace: str = NAMESPACE) -> Object:
    """The same with any text in it."""
    metadata = _owned(REPORTS, None) | {"uid": f"uid-of-{REPORTS}-in-{in_namespace}", "namespace": in_namespace}
    metadata["labels"] |= {names.JOB_UID: uid}
    return _object("ConfigMap", "v1", metadata) | {"data": {KEY: text}}


def event(note: str, *, about: str = "", of: str = "RayJob", last: float = 0) -> Object:
    """A warning about an object that has the name of the first attempt's RayJob, or another."""
    metadata = {"namespace": NAMESPACE, "name": f"event-{next(_versions)}"}
    regarding = {"kind": of, "name": about or name_of(1)}
    made = _object("Event", "events.k8s.io/v1", metadata)
    return made | {"regarding": regarding, "note": note, "type": "Warning", "deprecatedLastTimestamp": at(last)}


def workload(message: str = "", *, version: str = "v1beta2") -> Object:
    """What Kueue makes of the first attempt's RayJob, and why it does not admit it."""
    metadata = {"name": f"rayjob-{name_of(1)}", "labels": {"kueue.x-k8s.io/job-uid": f"uid-of-{name_of(1)}"}}
    made = _object("Workload", f"kueue.x-k8s.io/{version}", metadata)
    return made | {"status": {"conditions": [condition("QuotaReserved", "False", "Pending", message)]}}


def succeeded(**changes: Any) -> Object:
    """What the trainer reports at the end of a run that published its model."""
    return _ended("Succeeded", "ModelPublished", "Published.", artifact=artifact(), **changes)


def failed(reason: str, message: str = "So it is.", **changes: Any) -> Object:
    """What the trainer reports at the end of a run that failed."""
    return _ended("Failed", reason, message, **changes)


def artifact(root: str = ROOT, **changes: Any) -> Object:
    """A published model."""
    return {
        "uri": f"{root}/executions/1/model",
        "manifestUri": f"{root}/manifest.json",
        "reportUri": f"{root}/executions/1/report.html",
        "digest": f"sha256:{'0' * 64}",
        "sizeBytes": 1000,
    } | changes


def progress(step: int = 3) -> Object:
    """How far the training is."""
    return {"step": step, "totalSteps": 9, "epoch": step / 9, "loss": 0.25}


def read(rows: int) -> Object:
    """What the trainer reports once the data is read."""
    return {
        "rowsRead": rows,
        "splits": [{"name": "train", "rows": rows, "tokens": 9 * rows, "truncated": 0}],
        "cleaning": [{"name": "dropEmpty", "rows": 0, "dropped": True}],
        "labelCount": 1,
        "labels": [{"name": "a", "rows": rows}],
    }


def attempt(number: int = 1, *, ended: float | None = None, seen: bool = True, **more: Any) -> Object:
    """An attempt in a status; `seen`: its RayJob was, too."""
    found = {"number": number, "rayJob": name_of(number), "startTime": at(0)}
    if seen:
        found["rayJobUid"] = f"uid-of-{name_of(number)}"
    if ended is not None:
        found |= {"completionTime": at(ended), "reason": "Unknown", "message": "It ended.", "exempt": False}
    return found | more


def started(*attempts: Object, **more: Any) -> Object:
    """The status of a job with these attempts."""
    return {
        "observedGeneration": 1,
        "phase": "Pending",
        "startTime": at(0),
        "run": UID,
        "attempts": list(attempts),
    } | more


def finished(kind: str = "Succeeded", *attempts: Object, ended: float = 100, **more: Any) -> Object:
    """The status of a job that is over."""
    end = {"type": kind, "status": "True", "reason": "Unknown", "message": "Over.", "lastTransitionTime": at(ended)}
    return started(*attempts, phase=kind, completionTime=at(ended), conditions=[end], **more)


def jobs_kind(*, kuberay: bool = True) -> FineTuneJobs:
    """The reconciler of jobs."""
    return FineTuneJobs(JobMetrics(CollectorRegistry()), kuberay=lambda: kuberay)


def job_key(name: str = JOB) -> ObjectKey:
    """The name of a job in the cache."""
    return ObjectKey(FINE_TUNE_JOB.name, NAMESPACE, name)


def observed(cache: Cache, name: str = JOB, *, kuberay: bool = True) -> Observed:
    """The sight of a job in a cache."""
    seen = jobs_kind(kuberay=kuberay).observe(cache, job_key(name))
    assert seen is not None, "the test shows no job"
    return seen


def cache_of(*objects: Object) -> Cache:
    """A cache that heard of these objects."""
    cache = Cache([jobs_kind()])
    for thing in objects:
        cache.put(copy.deepcopy(thing))
    return cache


def told(question: Question, objects: Iterable[Object]) -> Answer:
    """What an API server that holds these objects answers."""
    known = [thing for thing in objects if thing["kind"] == question.kind.name]
    if question.kind.name == "Workload" and not [
        one for one in known if one["apiVersion"] == question.kind.api_version
    ]:
        return None
    return tuple(question.view(thing) for thing in known if _is_asked_for(question, thing))


def _is_asked_for(question: Question, thing: Object) -> bool:
    labels = thing["metadata"].get("labels", {})
    wanted = dict(pair.split("=") for pair in question.selector.split(",") if pair)
    about = re.search(r"regarding.name=([^,]+)", question.fields)
    named = re.search(r"metadata.name=([^,]+)", question.fields)
    return (
        {question.name, named[1] if named else ""} <= {"", thing["metadata"]["name"]}
        and wanted.items() <= labels.items()
        and (about is None or thing["regarding"]["name"] == about[1])
    )


def decided(
    cache: Cache, server: Iterable[Object], settings: Settings, now: datetime, *, kuberay: bool = True
) -> JobPlan:
    """What follows once the API server has told what the plan asks for."""
    found, server = reconcile(observed(cache, kuberay=kuberay), settings, now), list(server)
    for question in found.questions:
        cache.answers.put(job_key(), question, told(question, server))
    if not found.questions:
        return found
    again = reconcile(observed(cache, kuberay=kuberay), settings, now)
    for question in again.questions:
        cache.answers.put(job_key(), question, told(question, server))
    return reconcile(observed(cache, kuberay=kuberay), settings, now)


def see(*objects: Object, kuberay: bool = True, name: str = JOB) -> Observed:
    """The sight of a job among these objects."""
    return observed(cache_of(*objects), name, kuberay=kuberay)


def plan(
    *objects: Object,
    now: float = 0,
    kuberay: bool = True,
    settings: Settings = SETTINGS,
    unwatched: tuple[Object, ...] = (),
) -> JobPlan:
    """What follows from the sight of these objects and the default profile, so many seconds after `START`. The end of a
    RayJob was seen when it came. Of `unwatched` objects the API server tells if it is asked."""
    for ray_job in objects:
        if "endTime" in ray_job.get("status", {}):
            objects = tuple(map(partial(_saw_the_end, ray_job), objects))
    shown = objects if any(thing["kind"] == "FineTuneProfile" for thing in objects) else (profile(), *objects)
    return decided(cache_of(*shown), (*objects, *unwatched), settings, after(now), kuberay=kuberay)


def events_of(
    job: Regarding, before: FineTuneJobStatus | None, after: FineTuneJobStatus, now: datetime, instance: str
) -> list[Object]:
    """The events that the operator makes of a change of status."""
    return [event_of(job, transition, now, instance) for transition in transitions_of(before, after)]


def walk(thing: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in an object, with its path."""
    yield path, thing
    children: Any = thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    for key, child in children:
        yield from walk(child, f"{path}.{key}")


def _saw_the_end(ray_job: Object, thing: Object) -> Object:
    thing = copy.deepcopy(thing)
    for attempt in thing.get("status", {}).get("attempts", []) if thing["kind"] == "FineTuneJob" else []:
        if attempt["rayJob"] == ray_job["metadata"]["name"]:
            attempt.setdefault("rayJobEndedTime", ray_job["status"]["endTime"])
    return thing


_JOB_SPEC: Object = {
    "model": {"uri": "s3://models/minilm"},
    "task": {"type": "SequenceClassification"},
    "dataset": {"uri": "s3://data/reviews.csv", "columns": {"text": "body", "label": "verdict"}},
    "output": {"uri": "s3://models/team-a"},
}


def _object(kind: str, api_version: str, metadata: Object) -> Object:
    versioned = {"resourceVersion": str(next(_versions)), "creationTimestamp": at(0)} | metadata
    return {"apiVersion": api_version, "kind": kind, "metadata": versioned}


def _owned(name: str, attempt: int | None, *, created: float = 0, deleting: bool = False) -> Object:
    labels = names.labels_of(JOB, UID) | ({} if attempt is None else {names.ATTEMPT: str(attempt)})
    owners = [
        {"apiVersion": "kubetune.dev/v1alpha1", "kind": "FineTuneJob", "name": JOB, "uid": UID, "controller": True}
    ]
    found = {
        "namespace": NAMESPACE,
        "name": name,
        "labels": labels,
        "ownerReferences": owners,
        "creationTimestamp": at(created),
    }
    return found | ({"deletionTimestamp": at(created)} if deleting else {})


def _ended(kind: str, reason: str, message: str, **changes: Any) -> Object:
    end = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at(50)}
    return {"phase": kind, "conditions": [end], "progress": progress(9)} | changes


def _with(spec: Object, changes: Object) -> Object:
    spec = copy.deepcopy(spec)
    for path, value in changes.items():
        *groups, name = path.split("__")
        place = spec
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return spec
