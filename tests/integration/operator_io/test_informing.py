"""An informer over a real API server that breaks off, refuses, forgets and loses kinds."""

import random
from pathlib import Path
from typing import Any

import pytest

from kubetune_operator.machinery.api_server import ApiClient
from kubetune_operator.machinery.informer import Informer
from kubetune_operator.machinery.kinds import CONFIG_MAP, Kind
from servers.kube import ApiServer
from servers.kube_client import KubeClient
from servers.proxy import READS, Answer, Proxy
from support.async_scenarios import RIGHTS, Changes, allow, aside, briefly, client_of, in_background, run, until

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WATCHES = r"configmaps\?.*watch=true"


def maps(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps" + (f"/{name}" if name else "")


def put(server: KubeClient, namespace: str, name: str, value: str = "") -> None:
    labels = {"test": namespace}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"k": value}}
    answer = server.apply(maps(namespace, name), body)
    assert answer.accepted, answer.message


def remove(server: KubeClient, namespace: str, name: str) -> None:
    assert server.delete(maps(namespace, name)).accepted


def informer_of(api: ApiClient, changes: Changes, kind: Kind = CONFIG_MAP, namespace: str = "") -> Informer:
    selector = f"test={namespace}" if namespace else ""
    return Informer(api, kind, on_change=changes, selector=selector, sleep=briefly)


def test_it_tells_of_what_exists_changes_and_goes(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        changes = Changes(namespace)
        await aside(put, server, namespace, "old")
        async with client_of(server, tmp_path) as api:
            informer = informer_of(api, changes, namespace=namespace)
            async with in_background(informer.run()):
                await informer.synced.wait()
                assert changes.heard == [("put", "old")]
                await aside(put, server, namespace, "new")
                await aside(put, server, namespace, "new", "changed")
                await aside(remove, server, namespace, "old")
                await until(lambda: ("gone", "old") in changes.heard, "the deletion was not told")
        assert changes.heard == [("put", "old"), ("put", "new"), ("put", "new"), ("gone", "old")]
        assert changes.objects["new"]["data"] == {"k": "changed"}
        assert "managedFields" not in changes.objects["new"]["metadata"]

    run(scenario())


def test_a_cut_watch_goes_on_and_tells_what_happened_meanwhile(
    proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        changes = Changes(namespace)
        await aside(put, server, namespace, "old")
        async with client_of(proxy.client(), tmp_path) as api:
            informer = informer_of(api, changes, namespace=namespace)
            async with in_background(informer.run()):
                await until(lambda: _watches(proxy) == 1 and informer.synced.is_set(), "there is no watch")
                with proxy.down():
                    await until(lambda: informer.failing_since is not None, "the cut was not noticed")
                    await aside(put, server, namespace, "new")
                    await aside(remove, server, namespace, "old")
                await until(lambda: ("gone", "old") in changes.heard, "the deletion was not told")
                assert informer.failing_since is None
        assert changes.heard == [("put", "old"), ("put", "new"), ("gone", "old")]
        first_pages = [
            request for request in proxy.requests if "limit=" in request.path and "continue=" not in request.path
        ]
        assert len(first_pages) == 1, "one list was enough"

    run(scenario())


def _watches(proxy: Proxy) -> int:
    return sum("watch=true" in request.path for request in proxy.requests)


def test_a_deletion_and_a_new_object_of_the_same_name_that_nobody_watched_are_found(
    proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        changes = Changes(namespace)
        for name in ("deleted", "recreated", "kept"):
            await aside(put, server, namespace, name)
        async with client_of(proxy.client(), tmp_path) as api:
            informer = informer_of(api, changes, namespace=namespace)
            async with in_background(informer.run()):
                await until(lambda: _watches(proxy) == 1 and informer.synced.is_set(), "there is no watch")
                del changes.heard[:]
                # When it comes back, the server has forgotten what happened.
                proxy.disturb(Answer(410, "Expired"), methods=READS, path=WATCHES)
                with proxy.down():
                    await aside(remove, server, namespace, "deleted")
                    await aside(remove, server, namespace, "recreated")
                    await aside(put, server, namespace, "recreated")
                await until(lambda: len(changes.heard) >= 3, "the changes were not told")
                await until(lambda: informer.failing_since is None, "it does not watch again")
        assert sorted(changes.heard) == [("gone", "deleted"), ("gone", "recreated"), ("put", "recreated")]
        assert changes.heard.index(("gone", "recreated")) < changes.heard.index(("put", "recreated"))

    run(scenario())


def forbid(server: ApiServer, namespace: str) -> None:
    assert server.delete(f"{RIGHTS}/clusterrolebindings/{namespace}").accepted


def test_rights_that_are_withdrawn_and_given_back_cost_no_change(
    proxy: Proxy, server: ApiServer, account: KubeClient, namespace: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        changes = Changes(namespace)
        seen: list[tuple[str, str, int]] = []
        await aside(put, server, namespace, "old")
        user = proxy.client(account.token)
        async with client_of(user, tmp_path, seen=lambda *what: seen.append(what)) as api:
            informer = informer_of(api, changes, namespace=namespace)
            async with in_background(informer.run()):
                await until(lambda: ("list", "configmaps", 403) in seen, "it was not refused at the start")
                assert not informer.synced.is_set()
                await aside(allow, server, namespace, "", "configmaps")
                await until(informer.synced.is_set, "it is not synced with the right to be")
                await until(lambda: informer.failing_since is None, "it does not watch with the right to")
                await aside(forbid, server, namespace)
                await aside(_wait_until_refused, user, namespace)
                proxy.cut()
                await until(lambda: ("watch", "configmaps", 403) in seen, "it was not refused")
                assert informer.failing_since is not None
                await aside(put, server, namespace, "new")
                await aside(remove, server, namespace, "old")
                await aside(allow, server, namespace, "", "configmaps")
                await until(lambda: ("put", "new") in changes.heard, "it does not go on with the right to")
        assert sorted(changes.heard) == [("gone", "old"), ("put", "new"), ("put", "old")]

    run(scenario())


def _wait_until_refused(user: KubeClient, namespace: str) -> None:
    # The server learns of changed rights by a watch of its own.
    while user.get("/api/v1/configmaps", limit="1").status != 403:
        pass


@pytest.fixture
def widget(namespace: str) -> Kind:
    """A kind of this test alone, which the server does not have yet."""
    plural = f"widgets{namespace.removeprefix('test-')}"
    return Kind("tests.kubetune.dev/v1", "Widget" + plural.removeprefix("widgets"), plural)


def definition(kind: Kind) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.tests.kubetune.dev"},
        "spec": {
            "group": "tests.kubetune.dev",
            "scope": "Namespaced",
            "names": {"kind": kind.name, "plural": kind.plural},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def test_a_kind_that_comes_late_and_is_removed_again_is_told(
    server: ApiServer, namespace: str, widget: Kind, tmp_path: Path
) -> None:
    path = f"{DEFINITIONS}/{widget.plural}.tests.kubetune.dev"
    body = {"apiVersion": widget.api_version, "kind": widget.name, "metadata": {"name": "w"}}

    def install() -> None:
        answer = server.create(DEFINITIONS, definition(widget))
        assert answer.accepted, answer.message
        server.wait_for_condition(path, "Established")
        server.wait_for(widget.path(), lambda _: True)
        answer = server.create(widget.path(namespace), body)
        assert answer.accepted, answer.message

    async def scenario() -> None:
        changes = Changes(namespace)
        async with client_of(server, tmp_path) as api:
            informer = informer_of(api, changes, widget)
            async with in_background(informer.run()):
                await informer.synced.wait()
                assert informer.absent
                await aside(install)
                await until(lambda: changes.heard == [("put", "w")], "the object was not told")
                assert not informer.absent
                await aside(server.delete, path)
                await until(lambda: informer.absent, "the kind's end was not noticed")
                assert changes.heard == [("put", "w"), ("gone", "w")]
                await aside(server.wait_until_gone, path)
                await aside(install)
                await until(lambda: changes.heard[2:] == [("put", "w")], "the object was not told again")
        await aside(server.delete, path)

    run(scenario())


def test_whatever_breaks_in_the_end_every_change_was_told(
    proxy: Proxy, server: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """Three informers, connections that break at random, and answers that refuse: the last state is the server's."""
    chance = random.Random(7)
    errors = [Answer(500), Answer(503, retry_after=0), Answer(429, retry_after=0), Answer(410, "Expired")]

    async def scenario() -> None:
        everyone = [Changes(namespace) for _ in range(3)]
        async with client_of(proxy.client(), tmp_path) as api:
            informers = [informer_of(api, changes, namespace=namespace) for changes in everyone]
            async with (
                in_background(informers[0].run()),
                in_background(informers[1].run()),
                in_background(informers[2].run()),
            ):
                for step in range(40):
                    name = f"m{chance.randrange(8)}"
                    await aside(put, server, namespace, name, str(step))
                    if chance.random() < 0.4:
                        await aside(remove, server, namespace, name)
                    if chance.random() < 0.5:
                        proxy.disturb(chance.choice(errors), methods=READS, path="configmaps", times=2)
                        proxy.cut()
                await aside(put, server, namespace, "last")
                for changes in everyone:
                    await until(lambda changes=changes: "last" in _left(changes), "an informer hangs")
            found = (await aside(server.get, maps(namespace), labelSelector=f"test={namespace}")).body["items"]
            there = {thing["metadata"]["name"]: thing["metadata"]["resourceVersion"] for thing in found}
            for changes in everyone:
                left = _left(changes)
                versions = {name: changes.objects[name]["metadata"]["resourceVersion"] for name in left}
                assert versions == there

    run(scenario())


def _left(changes: Changes) -> set[str]:
    """The names that were told last as being there."""
    left: set[str] = set()
    for what, name in changes.heard:
        (left.add if what == "put" else left.discard)(name)
    return left
