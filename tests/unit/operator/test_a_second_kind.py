"""A kind of which the machinery knows nothing is looked after by its reconciler alone."""

import asyncio

from kubetune_operator.settings import Settings
from support.in_memory_api import InMemoryApi, controller_of, works
from support.observed_jobs import START
from support.widgets import Widgets

METADATA = {"namespace": "team-a", "name": "blue", "uid": "uid-of-blue"}
REFUSAL = "refused: POST serviceaccounts: 403 Forbidden: exceeded quota"
LABELS = {"tests.dev/uid": METADATA["uid"], "tests.dev/widget": METADATA["name"]}


def test_a_kind_is_looked_after_by_its_reconciler_alone() -> None:
    api = InMemoryApi()
    controller = controller_of(api, [Widgets()], Settings(identity="one"), lambda: START)
    api.hears = controller.on_event
    pod = {"kind": "Pod", "metadata": METADATA | {"name": "painter", "uid": "uid-of-painter", "labels": LABELS}}
    widget = {"kind": "Widget", "metadata": METADATA, "spec": {"colour": "blue"}}

    async def leads_to(*acts: object) -> tuple[str | None, bool]:
        controller.look_at_all()
        await works(controller)
        status = api.objects["Widget", "blue"].get("status", {})
        return status.get("says"), ("ServiceAccount", "blue-painter") in api.objects

    async def life() -> None:
        assert await leads_to(api.put(pod), api.put(widget)) == (None, False), "the guard holds everything back"
        assert await leads_to(api.remove("Pod", "painter"), api.refuses.add("ServiceAccount")) == (REFUSAL, False)
        assert await leads_to(api.refuses.clear()) == ("has blue", True)
        assert await leads_to(api.put(widget | {"spec": {"colour": None}})) == ("bare", False)

    asyncio.run(life())
    notes = [event["note"] for event in api.created if event["kind"] == "Event"]
    assert notes == ["waits", REFUSAL, "has blue", "bare"]
