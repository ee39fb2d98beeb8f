"""Which server is behind a place: the store's own, or the endpoint that the environment names."""

import os
from urllib.parse import SplitResult, urlsplit

from kubetune_trainer.storage.locations import Location

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The hosts that requests may go to unencrypted: this machine."""
_VARIABLES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_USUAL = {"s3": "AWS_ENDPOINT_URL", "az": "AZURE_STORAGE_ENDPOINT"}
_PUBLIC = {"s3": "Amazon S3", "gs": "Google Cloud Storage", "az": "Azure Blob Storage"}


def endpoint_variable(place: Location) -> str | None:
    """The variable that names the endpoint; None if none is set."""
    return next((name for name in _VARIABLES.get(place.scheme, ()) if os.environ.get(name)), None)


def usual_variable(place: Location) -> str | None:
    """The variable that people set to name an endpoint; None if the store has no servers but its own."""
    return _USUAL.get(place.scheme)


def endpoint_url(variable: str) -> SplitResult:
    """The endpoint that a variable names, taken apart."""
    return urlsplit(os.environ[variable])


def server(place: Location) -> str:
    """The server for people, without any credentials of its URL."""
    variable = endpoint_variable(place)
    if variable is None:
        return _PUBLIC[place.scheme]
    url = endpoint_url(variable)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
