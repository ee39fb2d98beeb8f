"""The chart gives the operator the rights that it needs, each of which it needs, and none by which to get others."""

import re
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from kubetune_operator.machinery.connection import Connection, load_connection
from kubetune_operator.machinery.leader import NAME
from servers.control_plane import ControlPlane
from servers.kube_client import KubeClient
from servers.kubelet import Kubelet
from support.chart import NAMESPACE, RELEASE, Rule, chart_rules, only, rendered
from support.operator_process import GROUP, RAY, RESTRICTED, Operator, SimulatedJob, job_body, running
from support.operator_rbac import RBAC, Account, ShortScenario, path_of, until, working

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{NAME}"
REQUESTS = "kubetune_api_requests_total"
REFUSED = "is forbidden"
"""What the API server says in every refusal for want of a right."""
TOLD = (Rule("events.k8s.io", "events", "list"), Rule("kueue.x-k8s.io", "workloads", "list"))
"""What it reads for the sentences of jobs that wait: `test_refusals.py` needs them, and no job does."""
GRANTED = Rule("", "configmaps", "get")
"""The operator has it in order to give it away: nobody may grant more than he has."""
NewJob = Callable[[], SimulatedJob]


@pytest.fixture(scope="module")
def account(plane: ControlPlane) -> Account:
    return Account(plane)


@pytest.fixture(scope="module")
def client(account: Account) -> KubeClient:
    """The operator's ServiceAccount, with all its rights."""
    return account.make()


@pytest.fixture(scope="module")
def kubeconfig(client: KubeClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return client.kubeconfig(tmp_path_factory.mktemp("account") / "kubeconfig")


@pytest.fixture(scope="module")
def connection(kubeconfig: Path) -> Connection:
    return load_connection(str(kubeconfig))


@pytest.fixture
def new_job(plane: ControlPlane, node: Kubelet) -> NewJob:
    """Makes a job in a namespace of its own, where no object is shared yet."""
    return lambda: SimulatedJob(plane, node, plane.make_namespace(f"team-{secrets.token_hex(3)}", **RESTRICTED))


def test_with_the_rights_of_the_chart_no_request_of_a_whole_life_is_refused(
    plane: ControlPlane, kubeconfig: Path, new_job: NewJob, tmp_path: Path
) -> None:
    plane.delete(LEASE)
    with running(Operator(kubeconfig, tmp_path, namespace=NAMESPACE, resync_seconds="2")) as operator:
        job = new_job().apply(retry={"maxAttempts": 2, "backoffSeconds": 0}, ttlSecondsAfterFinished=0)
        live_through_everything(job)
        plane.wait_for(
            f"/apis/events.k8s.io/v1/namespaces/{job.namespace}/events",
            lambda found: any(event["regarding"]["name"] == job.name for event in found["items"]),
        )
        assert plane.get(LEASE).body["spec"]["holderIdentity"].startswith("one_")
        # Another scenario, in which the answer to the creation of the RayJob is lost.
        scenario = ShortScenario(new_job())
        until(scenario.go_on)
        assert operator.metric(REQUESTS, verb="get", resource="rayjobs", code="200") > 0
        assert operator.metric(REQUESTS, verb="list", resource="finetunejobs", code="200") > 0
        assert operator.metric(REQUESTS, code="403") == 0
    assert "holderIdentity" not in plane.get(LEASE).body["spec"]
    log = operator.log.read_text()
    assert "RayJob" in log
    assert not [line for line in log.splitlines() if REFUSED in line or " ERROR " in line or " 403 " in line]


def live_through_everything(job: SimulatedJob) -> None:
    """A retry, a suspension, progress, success, and the clean-up after it."""
    job.run_until_training()
    job.say_failed("StorageFailed")
    job.run_until_training(attempt=2)
    job.change(suspend=True)
    job.wait_for(phase="Suspended", message="suspended; set spec.suspend: false to resume")
    job.change(suspend=False)
    ray_id = job.run_until_training(attempt=3)
    job.say(3, progress={"step": 40, "totalSteps": 100, "epoch": 0.4})
    job.wait_for(reason="Training")
    job.say_succeeded(3)
    job.end_ray(ray_id)
    job.wait_for(phase="Succeeded")
    job.plane.wait_for(f"{RAY}/namespaces/{job.namespace}/rayjobs", lambda found: not found["items"])
    job.plane.wait_for(f"{RBAC}/namespaces/{job.namespace}/roles", lambda found: not found["items"])


def test_a_short_life_with_all_rights_meets_no_refusal(
    connection: Connection, new_job: NewJob, caplog: pytest.LogCaptureFixture
) -> None:
    assert refusals(connection, new_job(), caplog) == []


def test_without_any_one_of_its_rights_the_operator_is_refused_just_that(
    account: Account,
    connection: Connection,
    new_job: NewJob,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
) -> None:
    assert sorted(account.rights) == chart_rules()
    for right in (right for right in account.rights if right not in TOLD):
        with subtests.test(str(right)), account.without(right):
            said = refusals(connection, new_job(), caplog)
            assert said
            assert [text for text in said if not is_about(right, text)] == []


def refusals(connection: Connection, job: SimulatedJob, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the operator is refused in the scenario of a job, which ends with the first refusal."""
    caplog.clear()
    caplog.set_level("DEBUG", "kubetune_operator")  # a refused event is told there alone
    job.plane.delete(LEASE)
    scenario = ShortScenario(job)

    def said() -> list[str]:
        return [text for text in list(caplog.messages) if REFUSED in text]

    with working(connection):
        until(lambda: said() or scenario.go_on())
    assert job.plane.delete(job.path).accepted
    return said()


def is_about(right: Rule, said: str) -> bool:
    """Whether the API server refused for want of this very right."""
    if right == GRANTED:
        return "is attempting to grant" in said and bool(re.search(r'"configmaps"\].*Verbs:\["get"\]', said))
    name = f'"{right.name}" {REFUSED}' if right.name else REFUSED
    return name in said and f'cannot {right.verb} resource "{right.resource}" in API group "{right.api_group}"' in said


def test_the_operator_cannot_make_more_of_its_rights(client: KubeClient, plane: ControlPlane, new_job: NewJob) -> None:
    team = new_job().apply(suspend=True)
    place = f"namespaces/{team.namespace}"
    plane.wait_for(f"/api/v1/{place}/serviceaccounts/default", lambda _: True)
    subject = {"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}
    admin = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    secrets_rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    role, metadata = {"rules": [secrets_rule]}, {"metadata": {"name": "more"}}
    binding = {"roleRef": admin, "subjects": [subject]}
    answers = {
        "a Role that reads Secrets": client.create(f"{RBAC}/{place}/roles", {**metadata, **role}),
        "its own Role, grown": client.merge(f"{RBAC}/namespaces/{NAMESPACE}/roles/{RELEASE}", role),
        "its own ClusterRole, grown": client.merge(f"{RBAC}/clusterroles/{RELEASE}", role),
        "a RoleBinding to cluster-admin": client.create(f"{RBAC}/{place}/rolebindings", {**metadata, **binding}),
        "a ClusterRoleBinding": client.create(f"{RBAC}/clusterrolebindings", {**metadata, **binding}),
        "a Secret": client.get(f"/api/v1/{place}/secrets/more"),
        "all Secrets": client.get("/api/v1/secrets"),
        "a token": client.create(f"/api/v1/{place}/serviceaccounts/default/token", {}),
        "another's ServiceAccount": client.merge(f"/api/v1/{place}/serviceaccounts/default", {}),
        "a ServiceAccount": client.create(f"/api/v1/{place}/serviceaccounts", {**metadata}),
        "a pod": client.create(f"/api/v1/{place}/pods", {**metadata}),
        "a command in a pod": client.create(f"/api/v1/{place}/pods/more/exec", {}),
        "the log of a pod": client.get(f"/api/v1/{place}/pods/more/log"),
        "a job of its own": client.create(team.path.rpartition("/")[0], job_body("more")),
        "a job's spec": client.merge(team.path, {"spec": {"suspend": False}}),
        "a profile": client.merge(f"{GROUP}/finetuneprofiles/default", {"spec": {"image": "more:1"}}),
        "a RayJob changed": client.merge(f"{RAY}/{place}/rayjobs/more", {"spec": {"suspend": False}}),
        "another Lease": client.get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler"),
    }
    assert {what: answer.status for what, answer in answers.items() if answer.status != 403} == {}


def test_who_has_the_charts_role_alone_runs_jobs_and_gets_no_further(plane: ControlPlane, new_job: NewJob) -> None:
    team = new_job().apply(suspend=True)
    alice, jobs = bound(plane, "kubetune-edit", "alice", team.namespace), team.path.rpartition("/")[0]
    manifest = {"apiVersion": "kubetune.dev/v1alpha1", "kind": "FineTuneJob", **job_body("applied", suspend=True)}
    assert alice.apply(f"{jobs}/applied", manifest).accepted
    assert len(alice.get(jobs).body["items"]) == 2
    assert alice.get(jobs, watch="true", timeoutSeconds="1").accepted
    stored = alice.get(team.path).body
    assert alice.request("PUT", team.path, stored).accepted
    place = f"namespaces/{team.namespace}"
    answers = {
        "a status": alice.request("PUT", f"{team.path}/status", stored),
        "a profile": alice.create(f"{GROUP}/finetuneprofiles", {"metadata": {"name": "mine"}}),
        "a profile's end": alice.delete(f"{GROUP}/finetuneprofiles/mine"),
        "the finalizers": alice.merge(f"{team.path}/finalizers", {}),
        "a RayJob": alice.create(f"{RAY}/{place}/rayjobs", {"metadata": {"name": "mine"}}),
        "a report": alice.merge(f"/api/v1/{place}/configmaps/report", {}),
        "a Secret": alice.get(f"/api/v1/{place}/secrets"),
        "the jobs of all": alice.get(f"{GROUP}/finetunejobs"),
    }
    assert {what: answer.status for what, answer in answers.items() if answer.status != 403} == {}
    assert alice.delete(jobs).accepted
    assert not alice.get(jobs).body["items"]


def bound(plane: ControlPlane, role: str, user: str, namespace: str) -> KubeClient:
    """A user who has this role of the chart in the namespace, and no other right, once the server knows."""
    found = only(rendered(), "ClusterRole", role)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": user, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    for thing in (found, binding):
        answer = plane.apply(path_of(thing), thing)
        assert answer.accepted, answer.message
    client = plane.as_user(user)
    client.wait_for(f"{GROUP}/namespaces/{namespace}/finetunejobs", lambda _: True)
    return client
