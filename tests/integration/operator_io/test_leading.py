"""Two leaders over one real Lease, of which one loses its way, ends, or is stopped."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from kubetune_operator.machinery.api_server import ApiClient
from kubetune_operator.machinery.leader import Leader, boot_clock
from kubetune_operator.settings import Settings
from servers.kube import ApiServer
from servers.processes import Process
from servers.proxy import LoseReply, Proxy
from support.async_scenarios import aside, client_of, in_background, run, until

LEASE_SECONDS, RENEW_SECONDS = 5.0, 2.5
ALONE = f"""
import asyncio, sys, time
from kubetune_operator.machinery.api_server import ApiClient
from kubetune_operator.machinery.connection import load_connection
from kubetune_operator.machinery.leader import Leader, boot_clock
from kubetune_operator.settings import Settings

async def main():
    settings = Settings(namespace=sys.argv[2], lease_seconds={LEASE_SECONDS}, renew_seconds={RENEW_SECONDS})
    async with ApiClient(load_connection(sys.argv[1]), lambda: False, lambda *_: None) as api:
        leader = Leader(api, settings, "child", on_elected=lambda: None, on_lost=lambda: None)
        election = asyncio.create_task(leader.run())
        while True:
            now = boot_clock()
            print("leads" if leader.may_write() else "waits", now, flush=True)
            time.sleep(0.005)  # the loop has no chance to learn of a stop before the next word
            await asyncio.sleep(0.02)

asyncio.run(main())
"""


def settings_in(namespace: str) -> Settings:
    return Settings(namespace=namespace, lease_seconds=LEASE_SECONDS, renew_seconds=RENEW_SECONDS)


def leader_of(api: ApiClient, namespace: str, name: str, heard: list[str]) -> Leader:
    return Leader(
        api,
        settings_in(namespace),
        name,
        on_elected=lambda: heard.append(f"{name} elected"),
        on_lost=lambda: heard.append(f"{name} lost"),
    )


def holder(server: ApiServer, namespace: str) -> str:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/kubetune-operator"
    return str(server.get(path).body.get("spec", {}).get("holderIdentity", ""))


async def never_both(*leaders: Leader) -> None:
    while True:
        assert sum(leader.may_write() for leader in leaders) <= 1, "two may write"
        await asyncio.sleep(0.005)


def test_the_second_leads_when_the_first_lost_its_way_to_the_server_and_not_before(
    proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    heard: list[str] = []

    async def scenario() -> None:
        async with client_of(proxy.client(), tmp_path) as disturbed, client_of(server, tmp_path) as direct:
            first, second = leader_of(disturbed, namespace, "a", heard), leader_of(direct, namespace, "b", heard)
            async with in_background(never_both(first, second)), in_background(first.run()):
                await until(first.may_write, "nobody leads")
                async with in_background(second.run()):
                    await asyncio.sleep(RENEW_SECONDS)
                    assert heard == ["a elected"]
                    with proxy.down():
                        await until(second.may_write, "nobody took over")
                    await asyncio.sleep(RENEW_SECONDS)
                    assert await aside(holder, server, namespace) == "b"
        assert heard == ["a elected", "a lost", "b elected"]

    run(scenario())


def test_the_second_leads_at_once_when_the_first_ends(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    heard: list[str] = []

    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            first, second = (leader_of(api, namespace, name, heard) for name in "ab")
            async with in_background(never_both(first, second)):
                async with in_background(first.run()):
                    await until(first.may_write, "nobody leads")
                    election = asyncio.create_task(second.run())
                    await asyncio.sleep(0.2)
                assert await aside(holder, server, namespace) == ""
                assert not first.may_write()
                await until(second.may_write, "nobody took over")
                election.cancel()
                await asyncio.wait([election])

    run(scenario())
    assert heard == ["a elected", "b elected"]


def test_a_renewal_whose_answer_is_lost_ends_nothing(proxy: Proxy, namespace: str, tmp_path: Path) -> None:
    heard: list[str] = []

    async def scenario() -> None:
        async with client_of(proxy.client(), tmp_path) as api:
            leader = leader_of(api, namespace, "a", heard)
            async with in_background(leader.run()):
                await until(leader.may_write, "nobody leads")
                before = len(proxy.requests)
                proxy.disturb(LoseReply(), path="leases", times=2)
                await until(lambda: len(proxy.requests) >= before + 8, "it does not renew")
                assert leader.may_write()

    run(scenario())
    assert heard == ["a elected"]


@pytest.mark.parametrize("count", [5])
def test_of_many_that_start_at_once_one_leads(server: ApiServer, namespace: str, tmp_path: Path, count: int) -> None:
    heard: list[str] = []

    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            leaders = [leader_of(api, namespace, str(index), heard) for index in range(count)]
            async with in_background(never_both(*leaders)):
                elections = [asyncio.create_task(leader.run()) for leader in leaders]
                await until(lambda: any(leader.may_write() for leader in leaders), "nobody leads")
                await asyncio.sleep(RENEW_SECONDS)
                assert len(heard) == 1
                for election in elections:
                    election.cancel()
                await asyncio.wait(elections)

    run(scenario())


def test_a_process_that_was_stopped_does_not_write_when_it_wakes(
    server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    heard: list[str] = []
    kubeconfig = server.kubeconfig(tmp_path / "child.kubeconfig")
    log = tmp_path / "child.log"
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = Process([sys.executable, "-c", ALONE, kubeconfig, namespace], log=log, env=path)

    async def scenario() -> None:
        async with client_of(server, tmp_path) as api:
            second = leader_of(api, namespace, "b", heard)
            await aside(child.wait_until, lambda: "leads" in log.read_text())
            async with in_background(second.run()):
                await asyncio.sleep(RENEW_SECONDS)
                assert heard == []
                child.freeze()
                await until(second.may_write, "nobody took over from one that was stopped")
                woken = boot_clock()
                child.thaw()
                await until(lambda: len(_said_since(log, woken)) > 50, "it did not wake")
                assert second.may_write()
            assert set(_said_since(log, woken)) == {"waits"}

    try:
        run(scenario())
    finally:
        child.stop()


def _said_since(log: Path, moment: float) -> list[str]:
    """What the child said of itself from then on."""
    lines = [line.split() for line in log.read_text().split("\n")[:-1] if line.startswith(("leads", "waits"))]
    return [word for word, time in lines if float(time) >= moment]
