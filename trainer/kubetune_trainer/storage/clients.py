"""obstore's client for each kind of store, with the patience of a person who waits for a command to end.

Credentials come from the Secret for the place; where there is none they do, and endpoints and regions always do, from
the standard environment variables, which obstore reads itself.
"""

import os
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Self

from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from kubetune_api.reasons import Reason
from kubetune_api.schemes import FILE, SCHEMES
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.credentials import ONE_LINE, Secret
from kubetune_trainer.storage.endpoints import LOOPBACK, endpoint_url, endpoint_variable
from kubetune_trainer.storage.locations import Location

TIMEOUT_VARIABLE = "KUBETUNE_STORAGE_TIMEOUT_SECONDS"
_SLOW_COMPLETION = 200e6
"""Bytes per second at which a slow server joins the parts of an upload; it answers only then."""
_SLOW_LINE = 1.5e6
"""Bytes per second that a slow line takes; all parts under way share them."""
CLIENTS: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
"""Of every scheme but `file`, to which a result may go."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long a store may take before the run gives it up. One request takes at most about twice `response`."""

    connect: float = 4.0
    """Seconds for a connection to be made."""
    response: float = 8.0
    """Seconds of silence: until an answer begins (a part of an upload included), and between its pieces."""
    retries: int = 6
    """How often a failed request is tried again."""
    retry_window: float = 9.6
    """Seconds after the first try in which another may begin."""

    @classmethod
    def from_environment(cls) -> Self:
        """The defaults, or `response` and `retry_window` as KUBETUNE_STORAGE_TIMEOUT_SECONDS says."""
        text = os.environ.get(TIMEOUT_VARIABLE)
        if text is None:
            return cls()
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 1 <= seconds <= 3600:
            raise RunError(Reason.STORAGE_FAILED, f"{TIMEOUT_VARIABLE} is {text!r}; set it to 1 to 3600 seconds.")
        return cls(response=seconds, retry_window=1.2 * seconds)

    def for_upload(self, size: int, in_flight: int) -> Self:
        """More patience for a large upload, of which so many bytes are under way at a time."""
        response = max(self.response, in_flight / _SLOW_LINE) + size / _SLOW_COMPLETION
        # A part that failed late is sent again, too.
        return replace(self, response=response, retry_window=max(self.retry_window, 1.2 * response))


def connect(place: Location, policy: RetryPolicy, secret: Secret | None = None) -> Any:
    """The client for the bucket of a place (for `file`: for the whole file system)."""
    if place.scheme == FILE:
        return LocalStore()
    if secret is None:
        _refuse_unprintable(place.scheme)
    options: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=policy.connect),
        "read_timeout": timedelta(seconds=policy.response),
        # The whole of a request has no limit of its own: a download of 100 GB is one request.
        "timeout": timedelta(days=1),
        "allow_http": _allows_http(place),
    }
    retry = {
        "max_retries": policy.retries,
        "retry_timeout": timedelta(seconds=policy.retry_window),
        "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=3), "base": 2},
    }
    keys = secret.client_options(place.scheme) if secret else {}
    return CLIENTS[place.scheme](place.bucket, client_options=options, retry_config=retry, **keys)


def _refuse_unprintable(scheme: str) -> None:
    for name in re.findall(r"[A-Z_]{2,}", SCHEMES[scheme].variables):
        if not os.environ.get(name, "").isprintable():
            raise RunError(Reason.CREDENTIALS_REFUSED, f"The variable {name} cannot be used; it must be {ONE_LINE}.")


def _allows_http(place: Location) -> bool:
    """Whether requests may go unencrypted: to this machine, or where the environment says so in words."""
    variable = endpoint_variable(place)
    if variable is None:
        return False
    url, permission = endpoint_url(variable), SCHEMES[place.scheme].allow_http_variable
    if url.scheme not in ("http", "https") or not url.hostname:
        raise RunError(Reason.STORAGE_FAILED, f"{variable} is not a URL; set it to https://host or https://host:port.")
    if url.scheme == "https":
        return False
    if url.hostname in LOOPBACK:
        return True
    if permission and os.environ.get(permission, "").lower() in ("1", "true", "yes", "on"):
        return True
    way_out = f", or set {permission}=true if the network is trusted" if permission else ""
    raise RunError(
        Reason.STORAGE_FAILED,
        f"{place.uri} would be reached without encryption at {url.hostname}; use an https:// endpoint{way_out}.",
    )
