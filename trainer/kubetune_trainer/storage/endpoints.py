"""Which server is behind a place: the store's own, or the endpoint that the environment names."""

import os
from urllib.parse import SplitResult, urlsplit

from kubetune_api.schemes import SCHEMES
from kubetune_trainer.storage.locations import Location

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The hosts that requests may go to unencrypted: this machine."""


def endpoint_variable(place: Location) -> str | None:
    """The variable that names the endpoint; None if none is set."""
    return next((name for name in SCHEMES[place.scheme].endpoint_variables if os.environ.get(name)), None)


def usual_variable(place: Location) -> str | None:
    """The variable that people set to name an endpoint; None if the store has no servers but its own."""
    return SCHEMES[place.scheme].usual_endpoint_variable


def endpoint_url(variable: str) -> SplitResult:
    """The endpoint that a variable names, taken apart."""
    return urlsplit(os.environ[variable])


def server(place: Location) -> str:
    """The server for people, without any credentials of its URL."""
    variable = endpoint_variable(place)
    if variable is None:
        return SCHEMES[place.scheme].title
    url = endpoint_url(variable)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
