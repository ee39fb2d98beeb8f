"""What the doorway to the API server does, against a real one, and what it says when that refuses."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from kubetune_operator.jobs.kinds import FINE_TUNE_JOB, RAY_CLUSTER
from kubetune_operator.machinery.api_server import ApiClient, ApiError, NotLeaderError
from kubetune_operator.machinery.connection import in_cluster
from kubetune_operator.machinery.kinds import CONFIG_MAP, NAMESPACE, Object
from kubetune_operator.machinery.labels import FIELD_MANAGER
from servers.kube import ApiServer
from servers.kube_client import KubeClient
from servers.processes import free_port
from servers.proxy import READS, Answer, Delay, LoseReply, LoseRequest, Proxy
from support.async_scenarios import aside, client_of, listed, run
from support.job_cases import edited


def config_map(namespace: str, name: str = "notes", **data: str) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": {"test": namespace}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def job(namespace: str, name: str = "reviews") -> Object:
    return edited({"metadata.namespace": namespace, "metadata.name": name})


async def refusal(awaitable: Any) -> ApiError:
    """The error of something that must fail."""
    with pytest.raises(ApiError) as caught:
        await awaitable
    return caught.value


def test_an_object_is_created_read_and_deleted(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            created = await api.create(CONFIG_MAP, config_map(namespace, key="value"))
            assert created["data"] == {"key": "value"}
            assert await api.get(CONFIG_MAP, namespace, "notes") == created
            await api.delete(CONFIG_MAP, namespace, "notes", uid=created["metadata"]["uid"])
            assert await api.get(CONFIG_MAP, namespace, "notes") is None

    run(scenario())


def test_an_object_without_a_namespace_is_read(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            found = await api.get(NAMESPACE, None, namespace)
            assert found is not None
            assert found["metadata"]["name"] == namespace

    run(scenario())


def test_an_object_that_exists_is_refused_with_a_sentence(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            await api.create(CONFIG_MAP, config_map(namespace))
            error = await refusal(api.create(CONFIG_MAP, config_map(namespace)))
            assert (error.status, error.reason) == (409, "AlreadyExists")
            assert str(error) == (
                f'POST configmaps {namespace}/notes: 409 AlreadyExists: configmaps "notes" already exists'
            )

    run(scenario())


def test_a_field_that_the_server_does_not_know_is_refused(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            wrong = {**config_map(namespace), "dta": {}}
            assert (await refusal(api.create(CONFIG_MAP, wrong))).status == 400
            assert 'unknown field "dta"' in (await refusal(api.create(CONFIG_MAP, wrong))).message
            assert "dta" in (await refusal(api.apply(CONFIG_MAP, wrong))).message

    run(scenario())


def test_an_applied_field_that_is_not_named_any_more_vanishes_and_others_stay(
    server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps/notes"

    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            await api.apply(CONFIG_MAP, config_map(namespace, ours="1", old="1"))
            await aside(server.merge, path, {"data": {"theirs": "1"}})
            applied = await api.apply(CONFIG_MAP, config_map(namespace, ours="2"))
            assert applied["data"] == {"ours": "2", "theirs": "1"}
            managers = {field["manager"] for field in applied["metadata"]["managedFields"]}
            assert FIELD_MANAGER in managers

    run(scenario())


def test_a_status_is_patched_only_at_the_version_that_was_read(
    server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            created = await api.create(FINE_TUNE_JOB, job(namespace))
            version = created["metadata"]["resourceVersion"]
            patch = api.patch_status
            patched = await patch(
                FINE_TUNE_JOB, namespace, "reviews", {"observedGeneration": 1}, resource_version=version
            )
            assert patched["status"]["observedGeneration"] == 1
            assert patched["spec"] == created["spec"]
            stale = patch(FINE_TUNE_JOB, namespace, "reviews", {"observedGeneration": 2}, resource_version=version)
            error = await refusal(stale)
            assert (error.status, error.reason) == (409, "Conflict")
            assert str(error).startswith(f"PATCH finetunejobs/status {namespace}/reviews: 409 Conflict: ")
            found = await api.get(FINE_TUNE_JOB, namespace, "reviews")
            assert found == patched

    run(scenario())


def test_only_the_very_object_is_deleted_and_one_that_is_gone_is_as_good(
    server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            created = await api.create(CONFIG_MAP, config_map(namespace))
            await api.delete(CONFIG_MAP, namespace, "notes", uid="another")
            assert await api.get(CONFIG_MAP, namespace, "notes") == created
            await api.delete(CONFIG_MAP, namespace, "nothing", uid="whatever")

    run(scenario())


@pytest.mark.parametrize(
    ("size", "pages"), [pytest.param(1, [10, 13], id="small ones"), pytest.param(900_000, [10, 9, 4], id="large ones")]
)
def test_a_list_is_whole_and_each_of_its_pages_small(
    server: ApiServer, namespace: str, tmp_path: Path, size: int, pages: list[int]
) -> None:
    """S1: objects of many megabytes are never held together."""

    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            for index in range(23):
                await api.create(CONFIG_MAP, config_map(namespace, f"notes-{index:02}", key="x" * size))
            given = [page async for page in api.pages(CONFIG_MAP, selector=f"test={namespace}", namespace=namespace)]
            others = api.pages(
                CONFIG_MAP, selector=f"test={namespace}", fields="metadata.name!=notes-00", namespace=namespace, most=5
            )
            assert [len(page.objects) async for page in others] == [5, 5, 5, 5, 2]
            found = [thing for page in given for thing in page.objects]
            assert [thing["metadata"]["name"] for thing in found] == [f"notes-{index:02}" for index in range(23)]
            assert {(thing["apiVersion"], thing["kind"]) for thing in found} == {("v1", "ConfigMap")}
            assert len(found[0]["data"]["key"]) == size
            assert [len(page.objects) for page in given] == pages
            (version,) = {int(page.version) for page in given}
            assert version >= max(int(thing["metadata"]["resourceVersion"]) for thing in found)

    run(scenario())


def test_a_list_of_metadata_has_nothing_else(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            created = await api.create(CONFIG_MAP, config_map(namespace, key="value"))
            found, _ = await listed(api, CONFIG_MAP, selector=f"test={namespace}", metadata_only=True)
            assert [thing["metadata"]["uid"] for thing in found] == [created["metadata"]["uid"]]
            assert "data" not in found[0]

    run(scenario())


def test_a_list_that_grew_too_old_between_two_pages_is_an_error(proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(proxy.client(), tmp_path) as api:
            for index in range(11):
                await api.create(CONFIG_MAP, config_map(namespace, f"notes-{index}"))
            proxy.disturb(Answer(410, "Expired"), methods=READS, path="continue=")
            assert (await refusal(listed(api, CONFIG_MAP, selector=f"test={namespace}"))).status == 410
            found, _ = await listed(api, CONFIG_MAP, selector=f"test={namespace}")
            assert len(found) == 11

    run(scenario())


def test_a_watch_tells_what_happens_after_the_version(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            _, version = await listed(api, CONFIG_MAP, selector=f"test={namespace}")
            created = await api.create(CONFIG_MAP, config_map(namespace))
            await api.apply(CONFIG_MAP, config_map(namespace, key="value"))
            await api.delete(CONFIG_MAP, namespace, "notes", uid=created["metadata"]["uid"])
            told = []
            async for what, thing in api.watch(CONFIG_MAP, selector=f"test={namespace}", resource_version=version):
                told.append((what, thing["metadata"].get("name")))
                if what == "DELETED":
                    break
            assert told == [("BOOKMARK", None), ("ADDED", "notes"), ("MODIFIED", "notes"), ("DELETED", "notes")]

    run(scenario())


def test_a_watch_tells_of_an_object_of_a_megabyte(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            _, version = await listed(api, CONFIG_MAP, selector=f"test={namespace}")
            await api.create(CONFIG_MAP, config_map(namespace, key="x" * 1_000_000))
            async for what, thing in api.watch(CONFIG_MAP, selector=f"test={namespace}", resource_version=version):
                if what == "ADDED":
                    assert len(thing["data"]["key"]) == 1_000_000
                    return

    run(scenario())


def test_a_watch_from_a_version_that_the_server_forgot_is_a_410(server: ApiServer, tmp_path: Path) -> None:
    async def scenario() -> ApiError:
        async with client_of(server, tmp_path) as api:
            return await refusal(_all(api.watch(FINE_TUNE_JOB, resource_version="1")))

    error = run(scenario())
    assert error.status == 410
    assert str(error).startswith("GET finetunejobs: 410 Expired: ")


async def _all(events: Any) -> list[Any]:
    return [event async for event in events]


def test_a_kind_is_served_or_not(server: ApiServer, tmp_path: Path) -> None:
    async def scenario() -> tuple[bool, bool, bool]:
        async with client_of(server, tmp_path) as api:
            kinds = (FINE_TUNE_JOB, CONFIG_MAP, RAY_CLUSTER)
            return tuple([await api.serves(kind) for kind in kinds])  # type: ignore[return-value]

    assert run(scenario()) == (True, True, False)


def test_who_does_not_lead_sends_no_write(proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(proxy.client(), tmp_path, may_write=lambda: False) as api:
            writes = (
                api.create(CONFIG_MAP, config_map(namespace)),
                api.apply(CONFIG_MAP, config_map(namespace)),
                api.patch_status(FINE_TUNE_JOB, namespace, "reviews", {}, resource_version="1"),
                api.delete(CONFIG_MAP, namespace, "notes", uid="any"),
            )
            for write in writes:
                with pytest.raises(NotLeaderError):
                    await write
            assert await api.get(CONFIG_MAP, namespace, "notes") is None

    run(scenario())
    assert {request.method for request in proxy.requests} == {"GET"}


def test_a_write_is_not_tried_again_by_one_who_leads_no_more(proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    answers = iter([True, True, False])

    async def scenario() -> None:
        async with client_of(proxy.client(), tmp_path, may_write=lambda: next(answers)) as api:
            created = await api.create(CONFIG_MAP, config_map(namespace))
            proxy.disturb(LoseRequest())
            with pytest.raises(NotLeaderError):
                await api.delete(CONFIG_MAP, namespace, "notes", uid=created["metadata"]["uid"])
            assert await api.get(CONFIG_MAP, namespace, "notes") == created

    run(scenario())
    assert [request.method for request in proxy.requests] == ["POST", "DELETE", "GET"]


@pytest.mark.parametrize(
    ("answer", "status", "retry_after"),
    [
        pytest.param(Answer(429, "TooManyRequests", retry_after=7), 429, 7.0, id="too many requests"),
        pytest.param(Answer(503, "ServiceUnavailable", retry_after=2), 503, 2.0, id="an overloaded server"),
        pytest.param(Answer(500, "InternalError"), 500, None, id="an error of the server"),
    ],
)
def test_a_refusal_says_when_to_come_again(
    proxy: Proxy, namespace: str, tmp_path: Path, answer: Answer, status: int, retry_after: float | None
) -> None:
    async def scenario() -> ApiError:
        async with client_of(proxy.client(), tmp_path) as api:
            proxy.disturb(answer)
            return await refusal(api.create(CONFIG_MAP, config_map(namespace)))

    error = run(scenario())
    assert (error.status, error.reason, error.retry_after) == (status, answer.reason, retry_after)


@pytest.mark.parametrize(
    ("fault", "is_done"),
    [
        pytest.param(LoseReply(), True, id="after the server did it"),
        pytest.param(LoseRequest(), False, id="before the server heard of it"),
    ],
)
def test_a_write_whose_connection_breaks_is_unreachable(
    proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path, fault: LoseReply | LoseRequest, is_done: bool
) -> None:
    async def scenario() -> ApiError:
        async with client_of(proxy.client(), tmp_path) as api:
            proxy.disturb(fault, path="configmaps")
            return await refusal(api.create(CONFIG_MAP, config_map(namespace)))

    error = run(scenario())
    assert (error.status, error.reason) == (0, "Unreachable")
    assert str(error).startswith(f"POST configmaps {namespace}/notes: Unreachable: ")
    assert server.get(f"/api/v1/namespaces/{namespace}/configmaps/notes").accepted is is_done


def test_the_nth_write_alone_is_disturbed(proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        async with client_of(proxy.client(), tmp_path) as api:
            proxy.disturb(Answer(500), nth=2, times=2)
            statuses = []
            for index in range(4):
                try:
                    await api.create(CONFIG_MAP, config_map(namespace, f"notes-{index}"))
                    statuses.append(201)
                except ApiError as error:
                    statuses.append(error.status)
                await api.get(CONFIG_MAP, namespace, "notes-0")
            return statuses

    assert run(scenario()) == [201, 500, 500, 201]


def test_a_request_that_is_delayed_is_done_later(proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> float:
        async with client_of(proxy.client(), tmp_path) as api:
            proxy.disturb(Delay(0.3))
            started = time.monotonic()
            await api.create(CONFIG_MAP, config_map(namespace))
            return time.monotonic() - started

    assert run(scenario()) >= 0.3


def test_nobody_at_the_address_is_unreachable(server: ApiServer, tmp_path: Path) -> None:
    nobody = KubeClient(f"https://127.0.0.1:{free_port()}", server.folder / "certificates" / "apiserver.crt", "any")

    async def scenario() -> ApiError:
        async with client_of(nobody, tmp_path) as api:
            return await refusal(api.get(CONFIG_MAP, "team-a", "notes"))

    error = run(scenario())
    assert (error.status, error.reason) == (0, "Unreachable")


def test_every_request_is_counted_with_its_verb_and_answer(proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    seen: list[tuple[str, str, int]] = []

    async def scenario() -> None:
        async with client_of(proxy.client(), tmp_path, seen=lambda *what: seen.append(what)) as api:
            created = await api.create(CONFIG_MAP, config_map(namespace))
            await refusal(api.create(CONFIG_MAP, config_map(namespace)))
            await api.apply(CONFIG_MAP, config_map(namespace))
            await api.get(CONFIG_MAP, namespace, "nothing")
            _, version = await listed(api, CONFIG_MAP, selector=f"test={namespace}")
            async for _ in api.watch(CONFIG_MAP, resource_version=version):
                break
            await api.delete(CONFIG_MAP, namespace, "notes", uid=created["metadata"]["uid"])
            proxy.disturb(LoseRequest(), methods=READS, times=2)  # one that only reads is tried twice
            await refusal(api.get(CONFIG_MAP, namespace, "nothing"))

    run(scenario())
    assert seen == [
        ("create", "configmaps", 201),
        ("create", "configmaps", 409),
        ("apply", "configmaps", 200),
        ("get", "configmaps", 404),
        ("list", "configmaps", 200),
        ("watch", "configmaps", 200),
        ("delete", "configmaps", 200),
        ("get", "configmaps", 0),
    ]


def pod_files(server: ApiServer, account: KubeClient, folder: Path) -> Path:
    """A folder as a pod has it, with the token of the account."""
    (folder / "token").write_text(account.token + "\n")
    (folder / "ca.crt").write_bytes((server.folder / "certificates" / "apiserver.crt").read_bytes())
    return folder


def test_a_pod_comes_in_as_its_service_account(
    server: ApiServer, account: KubeClient, namespace: str, tmp_path: Path
) -> None:
    files = pod_files(server, account, tmp_path)
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}

    async def scenario() -> ApiError:
        async with ApiClient(in_cluster(files, environment), lambda: True, lambda *_: None) as api:
            return await refusal(api.get(CONFIG_MAP, namespace, "notes"))

    error = run(scenario())
    assert error.status == 403
    assert f"system:serviceaccount:{namespace}:operator" in error.message


def test_a_token_that_was_rotated_is_read_again_after_a_minute_and_at_once_when_it_is_refused(
    server: ApiServer, account: KubeClient, namespace: str, tmp_path: Path
) -> None:
    files = pod_files(server, account, tmp_path)
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    now = [0.0]
    connection = in_cluster(files, environment, lambda: now[0])
    first = connection.headers()

    async def scenario() -> list[int]:
        statuses = []
        async with ApiClient(connection, lambda: True, lambda *_: None) as api:
            (files / "token").write_text("expired")
            for seconds in (0, 59.9, 0.1):
                now[0] += seconds
                statuses.append((await refusal(api.get(CONFIG_MAP, namespace, "notes"))).status)
            (files / "token").write_text(account.token)
            for _ in range(2):
                statuses.append((await refusal(api.get(CONFIG_MAP, namespace, "notes"))).status)
        return statuses

    assert run(scenario()) == [403, 403, 401, 401, 403]
    assert connection.headers() == first == {"Authorization": f"Bearer {account.token}"}


def test_a_pod_without_a_token_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"token does not exist; give the pod a ServiceAccount and mount its token"):
        in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"})


def test_requests_run_side_by_side(proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with client_of(proxy.client(), tmp_path) as api:
            await asyncio.gather(
                *(api.create(CONFIG_MAP, config_map(namespace, f"notes-{index}")) for index in range(20))
            )
            found, _ = await listed(api, CONFIG_MAP, selector=f"test={namespace}")
            assert len(found) == 20

    run(scenario())
