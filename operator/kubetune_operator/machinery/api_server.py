"""The one doorway to the API server: requests, their errors as one kind of error, and who may write.

Only the leader writes. Its right is checked right before each write is sent, and a connection for it is found within
CONNECT_SECONDS: so a write leaves before anyone else can lead, whatever the network does.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from kubetune_operator.machinery.connection import Connection
from kubetune_operator.machinery.kinds import LEASE, Kind, Object
from kubetune_operator.machinery.labels import FIELD_MANAGER
from kubetune_operator.machinery.pages import FIRST_LIMIT, MOST_ON_A_PAGE, PAGES_AT_ONCE, Page, next_limit
from kubetune_operator.settings import CONNECT_SECONDS

REQUEST_SECONDS = 30.0
WATCH_SILENCE_SECONDS = 90.0
"""The server sends a bookmark every minute: a watch that is silent for longer is dead."""
CHUNK = 1 << 20

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
STRICT = {"fieldValidation": "Strict", "fieldManager": FIELD_MANAGER}

Seen = Callable[[str, str, int], None]
"""Hears of each request: its verb, the resource, and the status of the answer (0: there was none)."""


class ApiError(Exception):
    """The API server refused a request, or did not answer it."""

    def __init__(self, what: str, *, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{what}: {status} {reason}: {message}" if status else f"{what}: {reason}: {message}")
        self.status = status
        """The HTTP status; 0 where there was no answer."""
        self.reason = reason
        """One word: `AlreadyExists`, `Conflict`, `Unreachable`."""
        self.message = message
        self.retry_after = retry_after
        """How long the server asks to be left alone, in seconds."""


class NotLeaderError(Exception):
    """A write was not sent, because another replica may be the leader."""


@dataclass(frozen=True)
class _Call:
    """One request, before it is sent."""

    method: str
    verb: str
    """What it is called in metrics."""
    kind: Kind
    namespace: str | None = None
    name: str | None = None
    part: str | None = None
    query: dict[str, str] = field(default_factory=dict)
    body: Object | None = None
    media: str = JSON
    accept: str = JSON

    @property
    def path(self) -> str:
        if self.verb == "discover":
            return self.kind.path().rpartition("/")[0]
        return self.kind.path(self.namespace, None if self.method == "POST" else self.name, self.part)

    def __str__(self) -> str:
        resource = f"{self.kind.plural}/{self.part}" if self.part else self.kind.plural
        place = "/".join(filter(None, (self.namespace, self.name)))
        return " ".join(filter(None, (self.method, resource, place)))


class ApiClient:
    """A client of the API server; open as long as the `async with` lasts."""

    def __init__(self, connection: Connection, may_write: Callable[[], bool], seen: Seen) -> None:
        self._connection = connection
        self._may_write = may_write
        self._seen = seen
        self._open_session: aiohttp.ClientSession | None = None
        self._lists = asyncio.Semaphore(PAGES_AT_ONCE)

    async def __aenter__(self) -> Self:
        self._open_session = aiohttp.ClientSession(
            connector=connector_of(self._connection),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, connect=CONNECT_SECONDS),
            # Within a cluster the network is faster than the server's compression.
            headers={"User-Agent": FIELD_MANAGER, "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        self._open_session = None

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """One object; None where there is none."""
        try:
            return (await self._request(_Call("GET", "get", kind, namespace, name)))[0]
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def serves(self, kind: Kind) -> bool:
        """Whether the server has the kind at all."""
        try:
            answer, _ = await self._request(_Call("GET", "discover", kind))
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return any(resource["name"] == kind.plural for resource in answer.get("resources") or [])

    async def pages(
        self,
        kind: Kind,
        *,
        selector: str = "",
        fields: str = "",
        namespace: str | None = None,
        metadata_only: bool = False,
        most: int = MOST_ON_A_PAGE,
    ) -> AsyncGenerator[Page, None]:
        """All objects of the cluster, or of the namespace, that both selectors select, page by page.

        ApiError (410) where the list grew too old between two pages: what follows would be of another moment.
        """
        query, limit = _selecting(selector, fields), min(FIRST_LIMIT, most)
        accept = METADATA_LIST if metadata_only else JSON
        while True:
            call = _Call("GET", "list", kind, namespace, query=query | {"limit": str(limit)}, accept=accept)
            async with self._lists:
                answer, size = await self._request(call)
            metadata = answer["metadata"]
            # A list names the kind once, for all.
            named = {"apiVersion": kind.api_version, "kind": kind.name}
            yield Page(
                [{**item, **named} for item in answer.pop("items", None) or []], str(metadata["resourceVersion"])
            )
            if not metadata.get("continue"):
                return
            query, limit = {**query, "continue": metadata["continue"]}, min(next_limit(limit, size), most)

    async def watch(
        self, kind: Kind, *, selector: str = "", resource_version: str
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """What happens to the objects after the version (ADDED, MODIFIED, DELETED, BOOKMARK), until the server ends it.

        The first is a BOOKMARK with the version given: the watch stands.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": resource_version}
        call = _Call("GET", "watch", kind, query=query | _selecting(selector))
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=WATCH_SILENCE_SECONDS)
        answered = False
        try:
            async with self._session.request(timeout=timeout, **self._arguments(call)) as response:
                answered = True
                self._seen(call.verb, kind.plural, response.status)
                if response.status >= 300:
                    raise self._refusal(call, response, await response.read())
                yield "BOOKMARK", {"metadata": {"resourceVersion": resource_version}}
                async for line in _lines(response.content):
                    yield _event(call, line)
        except (aiohttp.ClientError, OSError) as error:
            if not answered:
                self._seen(call.verb, kind.plural, 0)
            raise _unreachable(call, error) from error

    async def create(self, kind: Kind, obj: Object) -> Object:
        """Creates the object; one that exists is an ApiError (409, AlreadyExists)."""
        return await self._write(_Call("POST", "create", kind, *_place(obj), query=STRICT, body=obj))

    async def apply(self, kind: Kind, obj: Object) -> Object:
        """Makes the fields that the object names what it says, and those vanish that it named the last time."""
        query = {**STRICT, "force": "true"}
        call = _Call("PATCH", "apply", kind, *_place(obj), query=query, body=obj, media=APPLY_PATCH)
        return await self._write(call)

    async def patch_status(
        self, kind: Kind, namespace: str | None, name: str, status: Object, *, resource_version: str
    ) -> Object:
        """Changes fields of the status, if the object is still the one of that version; else an ApiError (409)."""
        change = {"metadata": {"resourceVersion": resource_version}, "status": status}
        call = _Call("PATCH", "patch", kind, namespace, name, "status", body=change, media=MERGE_PATCH)
        return await self._write(call)

    async def delete(self, kind: Kind, namespace: str | None, name: str, *, uid: str) -> None:
        """Deletes this very object, and in the background what it owns; one that is gone already is as good."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        try:
            await self._write(_Call("DELETE", "delete", kind, namespace, name, body=options))
        except ApiError as error:
            another = error.status == 409 and "UID" in error.message and "precondition" in error.message
            if error.status != 404 and not another:
                raise

    async def write_lease(self, lease: Object) -> Object:
        """Creates the Lease, or replaces it if it is still the one of its version; for anyone, leader or not."""
        replaces = "resourceVersion" in lease["metadata"]
        method, verb = ("PUT", "update") if replaces else ("POST", "create")
        return (await self._request(_Call(method, verb, LEASE, *_place(lease), body=lease)))[0]

    async def _write(self, call: _Call) -> Object:
        async def leaders_only(
            request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            # Here, since aiohttp itself sends some requests a second time when the connection broke.
            if not self._may_write():
                raise NotLeaderError(f"{call}: not sent, because this replica is not the leader")
            return await send(request)

        answer, _ = await self._request(call, leaders_only)
        return answer

    async def _request(self, call: _Call, *middlewares: aiohttp.ClientMiddlewareType) -> tuple[Object, int]:
        """Sends the request and takes the whole answer, and how many bytes it had."""
        try:
            async with self._session.request(middlewares=middlewares, **self._arguments(call)) as response:
                text = await response.read()
                code = response.status
        except (aiohttp.ClientError, OSError) as error:
            self._seen(call.verb, call.kind.plural, 0)
            raise _unreachable(call, error) from error
        self._seen(call.verb, call.kind.plural, code)
        if code >= 300:
            raise self._refusal(call, response, text)
        return _parsed(call, code, text), len(text)

    @property
    def _session(self) -> aiohttp.ClientSession:
        assert self._open_session is not None, "the client is used outside its `async with`"
        return self._open_session

    def _arguments(self, call: _Call) -> dict[str, Any]:
        """What the session is asked."""
        return {
            "method": call.method,
            "url": self._connection.server + call.path,
            "params": call.query,
            "data": None if call.body is None else json.dumps(call.body).encode(),
            "headers": {"Accept": call.accept, "Content-Type": call.media, **self._connection.headers()},
            "allow_redirects": False,
        }

    def _refusal(self, call: _Call, response: aiohttp.ClientResponse, text: bytes) -> ApiError:
        if response.status == 401:
            self._connection.headers(anew=True)  # for the next request
        after = response.headers.get("Retry-After", "")
        return _refused(call, response.status, text, float(after) if after.isdigit() else None)


def connector_of(connection: Connection) -> aiohttp.TCPConnector:
    """The pool of connections to the server."""
    return aiohttp.TCPConnector(
        ssl=connection.ssl,
        keepalive_timeout=60,
        # Before this version asyncio kept a socket whose other end broke off.
        enable_cleanup_closed=sys.version_info < (3, 12, 8),
    )


def _place(obj: Object) -> tuple[str | None, str]:
    metadata = obj["metadata"]
    return metadata.get("namespace"), metadata["name"]


def _selecting(selector: str, fields: str = "") -> dict[str, str]:
    wanted = {"labelSelector": selector, "fieldSelector": fields}
    return {key: value for key, value in wanted.items() if value}


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a body, however long they are: aiohttp's own iteration fails at 128 KiB."""
    rest = b""
    async for chunk in content.iter_chunked(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def _event(call: _Call, line: bytes) -> tuple[str, Object]:
    """What one line of a watch says; an ERROR is raised as what it is."""
    try:
        event = json.loads(line)
    except ValueError as error:  # cut in the middle of a line
        raise _unreachable(call, error) from error
    if event["type"] == "ERROR":
        raise _refused(call, int(event["object"].get("code") or 500), json.dumps(event["object"]).encode())
    return event["type"], event["object"]


def _parsed(call: _Call, status: int, text: bytes) -> Object:
    answer = _json(text)
    if answer is None:
        said = f"the answer is no JSON object: {text[:200]!r}"
        raise ApiError(str(call), status=status, reason="NotJson", message=said)
    return answer


def _refused(call: _Call, status: int, text: bytes, retry_after: float | None = None) -> ApiError:
    """The error of an answer, whose body is a Status, or something that a proxy on the way said."""
    said = _json(text) or {"message": text[:200].decode(errors="replace")}
    return ApiError(
        str(call),
        status=status,
        reason=said.get("reason") or "Refused",
        message=said.get("message") or "without a message",
        retry_after=retry_after,
    )


def _unreachable(call: _Call, error: Exception) -> ApiError:
    return ApiError(str(call), status=0, reason="Unreachable", message=str(error) or type(error).__name__)


def _json(text: bytes) -> Object | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
