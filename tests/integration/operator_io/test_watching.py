"""kopf as the watch of the FineTuneJobs: what it tells, and what it leaves alone."""

import asyncio
import signal
from pathlib import Path

import pytest

from kubetune_operator.jobs.kinds import FINE_TUNE_JOB
from kubetune_operator.machinery.api_server import ApiClient
from kubetune_operator.machinery.watch import all_of, run_watch
from servers.kube import ApiServer
from servers.kube_client import KubeClient
from servers.proxy import READS, WRITES, Answer, Proxy
from support.async_scenarios import Changes, allow, aside, client_of, connection_of, in_background, run, until
from support.job_cases import edited

KIND = r"^/apis/kubetune\.dev/v1alpha1$|^/apis/kubetune\.dev/v1alpha1\?$"


def create(server: KubeClient, namespace: str, name: str) -> str:
    answer = server.create(FINE_TUNE_JOB.path(namespace), edited({"metadata.name": name}))
    assert answer.accepted, answer.message
    return str(answer.body["metadata"]["uid"])


def test_every_job_that_exists_comes_changes_or_goes_is_told(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        changes, stop = Changes(namespace), asyncio.Event()
        await aside(create, server, namespace, "old")
        async with in_background(run_watch(connection_of(server, tmp_path), FINE_TUNE_JOB, changes, stop)):
            await until(lambda: changes.heard == [("put", "old")], "the job that exists was not told")
            await aside(create, server, namespace, "new")
            await until(lambda: ("put", "new") in changes.heard, "the new job was not told")
            change = {"metadata": {"labels": {"changed": "yes"}}}
            await aside(server.merge, FINE_TUNE_JOB.path(namespace, "new"), change)
            await until(lambda: changes.heard.count(("put", "new")) == 2, "the change was not told")
            await aside(server.delete, FINE_TUNE_JOB.path(namespace, "new"))
            await until(lambda: changes.heard[-1] == ("gone", "new"), "the deletion was not told")
        job = changes.objects["old"]
        assert type(job) is dict
        assert job["spec"]["model"] == {"uri": "file:///models/minilm"}
        assert "managedFields" not in job["metadata"]

    run(scenario())


def test_it_writes_nothing_and_asks_for_nothing_but_jobs_and_what_the_server_serves(
    proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        changes, stop = Changes(namespace), asyncio.Event()
        await aside(create, server, namespace, "old")
        before = (await aside(server.get, FINE_TUNE_JOB.path(namespace, "old"))).body
        async with in_background(run_watch(connection_of(proxy.client(), tmp_path), FINE_TUNE_JOB, changes, stop)):
            await until(lambda: any("watch=true" in request.path for request in proxy.requests), "it does not watch")
            await asyncio.sleep(0.5)
        assert (await aside(server.get, FINE_TUNE_JOB.path(namespace, "old"))).body == before

    run(scenario())
    assert not [request for request in proxy.requests if request.method in WRITES]
    listed = {request.path.split("?")[0] for request in proxy.requests if "limit=" in request.path}
    watched = {request.path.split("?")[0] for request in proxy.requests if "watch=" in request.path}
    assert listed == watched == {FINE_TUNE_JOB.path()}


def test_a_stop_ends_it_and_no_other_task(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        stop = asyncio.Event()
        watch = asyncio.create_task(run_watch(connection_of(server, tmp_path), FINE_TUNE_JOB, Changes(namespace), stop))
        await asyncio.sleep(1)
        younger = asyncio.create_task(asyncio.sleep(60))
        stop.set()
        await watch
        assert not younger.done()
        assert asyncio.all_tasks() == {asyncio.current_task(), younger}, "kopf left tasks behind"
        younger.cancel()

    run(scenario())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it(server: ApiServer, namespace: str, tmp_path: Path, number: signal.Signals) -> None:
    async def scenario() -> None:
        changes, stop = Changes(namespace), asyncio.Event()
        watch = asyncio.create_task(run_watch(connection_of(server, tmp_path), FINE_TUNE_JOB, changes, stop))
        await asyncio.sleep(1)
        for _ in range(2):
            signal.raise_signal(number)
        await watch
        assert stop.is_set()

    run(scenario())


def test_a_refusal_ends_kopf_and_the_watch_goes_on_with_the_other_tasks_alive(
    proxy: Proxy, server: ApiServer, account: KubeClient, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        changes, stop = Changes(namespace), asyncio.Event()
        await aside(create, server, namespace, "old")
        connection = connection_of(proxy.client(account.token), tmp_path)
        async with (
            in_background(run_watch(connection, FINE_TUNE_JOB, changes, stop)),
            in_background(asyncio.sleep(600)),
        ):
            # kopf asks five times before it gives up, in some seconds.
            await until(lambda: len(_lists(proxy)) > 4, "it was not refused")
            assert changes.heard == []
            await aside(allow, server, namespace, "kubetune.dev", "finetunejobs")
            await until(lambda: changes.heard == [("put", "old")], "it does not go on with the right to")

    run(scenario())


def _lists(proxy: Proxy) -> list[str]:
    """The first page of each: how many there are depends on what other tests have left."""
    paths = [request.path for request in proxy.requests]
    return [path for path in paths if "limit=" in path and "continue=" not in path]


def test_a_cut_watch_goes_on(proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        changes, stop = Changes(namespace), asyncio.Event()
        await aside(create, server, namespace, "old")
        async with in_background(run_watch(connection_of(proxy.client(), tmp_path), FINE_TUNE_JOB, changes, stop)):
            await until(lambda: any("watch=true" in request.path for request in proxy.requests), "it does not watch")
            with proxy.down():
                await aside(create, server, namespace, "new")
                await aside(server.delete, FINE_TUNE_JOB.path(namespace, "old"))
            await until(lambda: ("put", "new") in changes.heard, "the new job was not told")
            await until(lambda: ("gone", "old") in changes.heard, "the deletion was not told")

    run(scenario())


async def uids(api: ApiClient) -> set[str]:
    """Those of all jobs."""
    found = await all_of(api, FINE_TUNE_JOB)
    assert found is not None
    assert found[1] > 0
    return found[0]


def test_a_deletion_that_kopf_missed_is_missing(
    proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        changes, stop = Changes(namespace), asyncio.Event()
        kept, lost = [await aside(create, server, namespace, name) for name in ("kept", "lost")]
        async with (
            client_of(server, tmp_path) as api,
            in_background(run_watch(connection_of(proxy.client(), tmp_path), FINE_TUNE_JOB, changes, stop)),
        ):
            await until(lambda: any("watch=true" in request.path for request in proxy.requests), "no watch")
            assert {kept, lost} <= await uids(api)
            proxy.disturb(Answer(410, "Expired"), methods=READS, path="watch=true")
            with proxy.down():
                await aside(server.delete, FINE_TUNE_JOB.path(namespace, "lost"))
            await until(lambda: len(_lists(proxy)) == 2, "it does not list again")
            await aside(create, server, namespace, "new")
            await until(lambda: ("put", "new") in changes.heard, "the new job was not told")
            assert ("gone", "lost") not in changes.heard, "kopf learned to tell of it: `all_of` is not needed"
            assert {kept, lost} & await uids(api) == {kept}

    run(scenario())


def test_without_the_kind_there_is_no_list_of_all(
    proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> object:
        await aside(create, server, namespace, "old")
        proxy.disturb(Answer(404, "NotFound"), methods=READS, path=KIND)
        async with client_of(proxy.client(), tmp_path) as api:
            return await all_of(api, FINE_TUNE_JOB)

    assert run(scenario()) is None


def test_a_kind_that_the_server_does_not_have_yet_is_waited_for(
    proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        changes, stop = Changes(namespace), asyncio.Event()
        await aside(create, server, namespace, "old")
        proxy.disturb(Answer(404, "NotFound"), methods=READS, path=KIND)
        async with in_background(run_watch(connection_of(proxy.client(), tmp_path), FINE_TUNE_JOB, changes, stop)):
            await until(lambda: bool(changes.heard), "the job was not told")

    run(scenario())


def test_a_token_that_is_refused_is_read_anew(proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        changes, stop = Changes(namespace), asyncio.Event()
        connection = connection_of(proxy.client("expired"), tmp_path)
        kubeconfig = next(tmp_path.glob("*.kubeconfig"))
        await aside(create, server, namespace, "old")
        async with in_background(run_watch(connection, FINE_TUNE_JOB, changes, stop)):
            await until(lambda: len(proxy.requests) > 0, "it asks for nothing")
            proxy.client().kubeconfig(kubeconfig)
            await until(lambda: changes.heard == [("put", "old")], "it does not come in with the new token")

    run(scenario())


def test_a_watch_whose_token_is_refused_later_comes_in_again(
    proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        changes, stop = Changes(namespace), asyncio.Event()
        async with in_background(run_watch(connection_of(proxy.client(), tmp_path), FINE_TUNE_JOB, changes, stop)):
            await until(lambda: any("watch=true" in request.path for request in proxy.requests), "it does not watch")
            proxy.disturb(Answer(401, "Unauthorized"), methods=READS, path="watch=true", times=2)
            proxy.cut()
            await aside(create, server, namespace, "new")
            await until(lambda: changes.heard == [("put", "new")], "it does not come in again")

    run(scenario())
