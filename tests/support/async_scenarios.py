"""For tests of the operator's own ways against a real API server."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kubetune_operator.machinery.api_server import ApiClient
from kubetune_operator.machinery.connection import Connection, load_connection
from kubetune_operator.machinery.kinds import Kind, Object
from servers.kube_client import KubeClient

T = TypeVar("T")
WAIT_SECONDS = 60.0
RIGHTS = "/apis/rbac.authorization.k8s.io/v1"


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Runs the scenario in a loop of its own; one that hangs fails."""

    async def limited() -> T:
        async with asyncio.timeout(3 * WAIT_SECONDS):
            return await scenario

    return asyncio.run(limited())


async def until(holds: Callable[[], bool], what: str) -> None:
    """Returns once this holds; raises with the sentence if that takes too long."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(0.02)


async def aside(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Calls something that blocks, while the loop goes on."""
    return await asyncio.to_thread(call, *arguments, **named)


@asynccontextmanager
async def in_background(running: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """Runs it as long as the `async with` lasts; it must not have ended by itself."""
    task = asyncio.create_task(running)
    try:
        yield task
        assert not task.done(), task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def briefly(seconds: float) -> None:
    """A sleep for those who would sleep for long."""
    await asyncio.sleep(min(seconds, 0.1))


@dataclass
class Changes:
    """Hears what an informer or a watch tells of one namespace."""

    namespace: str
    heard: list[tuple[str, str]] = field(default_factory=list)
    """`put` or `gone`, and the name."""
    objects: dict[str, Object] = field(default_factory=dict)

    def __call__(self, what: str, thing: Object) -> None:
        if thing["metadata"].get("namespace") != self.namespace:
            return
        self.heard.append((what, thing["metadata"]["name"]))
        self.objects[thing["metadata"]["name"]] = thing


def connection_of(client: KubeClient, folder: Path) -> Connection:
    """The operator's connection as this client's user."""
    return load_connection(str(client.kubeconfig(folder / f"{secrets.token_hex(4)}.kubeconfig")))


def client_of(
    client: KubeClient,
    folder: Path,
    may_write: Callable[[], bool] = lambda: True,
    seen: Callable[[str, str, int], None] = lambda *_: None,
) -> ApiClient:
    """The operator's doorway as this client's user."""
    return ApiClient(connection_of(client, folder), may_write, seen)


async def listed(api: ApiClient, kind: Kind, **asked: Any) -> tuple[list[Object], str]:
    """A whole list, and the version at which it was so."""
    found, version = list[Object](), ""
    async for page in api.pages(kind, **asked):
        found, version = [*found, *page.objects], page.version
    return found, version


def allow(server: KubeClient, namespace: str, group: str, resource: str) -> None:
    """Lets the ServiceAccount `operator` of the namespace list and watch a resource, everywhere."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": namespace},
        "rules": [{"apiGroups": [group], "resources": [resource], "verbs": ["list", "watch"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": "operator"}],
    }
    for plural, body in (("clusterroles", role), ("clusterrolebindings", binding)):
        answer = server.apply(f"{RIGHTS}/{plural}/{namespace}", body)
        assert answer.accepted, answer.message
