"""Two kinds in one replica, each with a watch of kopf's on the one event loop, against a real API server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from kubetune_operator.application import Application
from kubetune_operator.jobs.kinds import FINE_TUNE_JOB
from kubetune_operator.machinery.kinds import SERVICE_ACCOUNT, Object
from kubetune_operator.machinery.reconciler import Reconciler
from kubetune_operator.settings import Settings
from servers.kube import ApiServer
from support.async_scenarios import aside, connection_of, run
from support.job_cases import edited
from support.widgets import WIDGET, Widgets

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.tests.dev"},
    "spec": {
        "group": "tests.dev",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": OPEN, "status": OPEN}}},
            }
        ],
    },
}


class TwoKinds(Application):
    def _our_kinds(self, registry: CollectorRegistry) -> list[Reconciler[Any, Any]]:
        return [*super()._our_kinds(registry), Widgets()]


@pytest.fixture
def widgets(server: ApiServer) -> Iterator[None]:
    answer = server.apply(f"{CRDS}/widgets.tests.dev", CRD)
    assert answer.accepted, answer.message
    server.wait_for_condition(f"{CRDS}/widgets.tests.dev", "Established")
    yield
    server.delete(f"{CRDS}/widgets.tests.dev")


@pytest.mark.usefixtures("widgets")
def test_a_second_kind_lives_beside_the_jobs_in_one_replica(server: ApiServer, namespace: str, tmp_path: Path) -> None:
    settings = Settings(
        namespace=namespace, metrics_host="127.0.0.1", metrics_port=0, health_port=0, resync_seconds=600
    )

    def put(path: str, obj: Object) -> None:
        answer = server.create(path, obj)
        assert answer.accepted, answer.message

    def status(path: str) -> Object:
        found: Object = server.get(path).body.get("status", {})
        return found

    async def becomes(path: str, field: str, value: str) -> None:
        async with asyncio.timeout(60):
            while (await aside(status, path)).get(field) != value:
                await asyncio.sleep(0.1)

    async def life() -> None:
        stop = asyncio.Event()
        replica = asyncio.create_task(TwoKinds(settings, connection_of(server, tmp_path)).run(stop))
        blue = {
            "apiVersion": "tests.dev/v1",
            "kind": "Widget",
            "metadata": {"name": "blue"},
            "spec": {"colour": "blue"},
        }
        await aside(put, WIDGET.path(namespace), blue)
        await aside(put, FINE_TUNE_JOB.path(namespace), edited({"metadata.name": "reviews", "spec.suspend": True}))
        await becomes(WIDGET.path(namespace, "blue"), "says", "has blue")
        await becomes(FINE_TUNE_JOB.path(namespace, "reviews"), "phase", "Suspended")
        await aside(server.merge, WIDGET.path(namespace, "blue"), {"spec": {"colour": None}})
        await becomes(WIDGET.path(namespace, "blue"), "says", "bare")
        stop.set()
        await replica

    run(life())
    assert server.get(SERVICE_ACCOUNT.path(namespace, "blue-painter")).status == 404
