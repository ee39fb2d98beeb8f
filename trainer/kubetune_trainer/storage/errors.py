"""What went wrong in a store, as a sentence that names the object and the remedy.

The store's own words are searched for their kind and never passed on whole: they hold access keys, signatures and
signed URLs. What is passed on of them, as the code of an error, holds nothing that a Secret or the environment does.
"""

import errno
import re
from dataclasses import dataclass

import obstore.exceptions

from kubetune_api.reasons import Reason
from kubetune_api.schemes import FILE, SCHEMES
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.credentials import Secret, hidden, is_part_of_a_value, wanted
from kubetune_trainer.storage.endpoints import endpoint_variable, server, usual_variable
from kubetune_trainer.storage.locations import Location

_NO_CREDENTIALS = (
    *("169.254.169.254", "metadata.google.internal"),
    *("source: MissingAccessKeyId", "source: MissingSecretAccessKey", "source: MissingAccount"),
)
"""Without any in the environment, obstore asks the metadata server of a cloud's machine."""
_NO_SIGNING_KEY = ("service account file", "Error reading pem file", "Invalid RSA key")
"""Google's client reads what signs its requests before it sends any."""
_MALFORMED = ("InvalidAccessKey {", "SAS query")
"""Nor does Azure's send any with a key that is not Base64, or a token that is no query."""
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")
_BAD_BUCKET_NAME = ("InvalidBucketName", "InvalidResourceName")
_NO_OBJECT = ("NoSuchKey", "BlobNotFound")
_UNKNOWN_KEY = "the access key is unknown there"
_REFUSALS = {
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "XAdminUserNotFound": _UNKNOWN_KEY,  # versitygw's word for it
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "ExpiredToken": "the temporary credentials have expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "the clock of this machine is wrong by minutes",
    "AccessDenied": "they lack the permission",
    "AuthenticationRequired": "the service account or its key is unknown there",  # Google's
    # Azure's.
    "AuthenticationFailed": "the key or token does not fit the account, or has expired",
    "AuthorizationFailure": "they lack the permission, or the account's firewall keeps this machine out",
    "AuthorizationPermissionMismatch": "they lack the permission",
    "KeyBasedAuthenticationNotPermitted": "the account takes no keys; use a SAS token of a user delegation, or workload"
    " identity",
}
_REFUSED = re.compile(r"\bstatus(?: code)?: 40[13]\b")
"""In a listing, the client makes nothing of the status."""
_HINTS = {
    "AuthorizationHeaderMalformed": "it is in another region",
    "PermanentRedirect": "the bucket is in another region",
}
_BARE_REDIRECT = "inner: BareRedirect"
"""That of S3 for another region, where nothing says which."""
_CODE = re.compile("<Code>([A-Z][A-Za-z]{2,40})</Code>")
_NO_STORE = ("Got invalid", "Invalid last modified")
_LOCAL = {
    errno.ENOSPC: "no space is left on the device; free some, or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another place",
    errno.EFBIG: "the file is larger than this system's limit for a file (see ulimit -f)",
    errno.EACCES: "this user lacks the permission; correct the owner or the mode, or choose another place",
    errno.EPERM: "this user lacks the permission; correct the owner or the mode, or choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENOTDIR: "a part of the path is a file, not a folder; correct the path",
    errno.EISDIR: "a folder of that name is there; remove it, or choose another place",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose a shorter one",
}


@dataclass(frozen=True)
class FailedRequest:
    """What was tried, for the sentence."""

    verb: str
    """`read`, `written`, `listed`, `deleted`."""
    place: Location
    seconds: float
    """How long the store was given to answer."""
    secret: Secret | None = None
    """What opened the store; None: the environment."""

    @property
    def credentials(self) -> str:
        """What to look at if the store refuses."""
        return wanted(self.place.uri, self.secret)


def explain(error: Exception, request: FailedRequest) -> RunError:
    """The error as a RunError. Whether an object is merely missing is for the caller to ask first."""
    words = hidden(str(error), request.secret)
    number = _errno(error, request)
    if number in _LOCAL:
        return _failed(request, _LOCAL[number])
    if request.place.scheme == FILE:
        return _failed(request, "it is not there" if isinstance(error, FileNotFoundError) else _first_line(words))
    return _explain_remote(error, words, request)


def explain_local(error: OSError, path: str, verb: str) -> RunError:
    """An error of this machine's own disk."""
    why = _LOCAL.get(error.errno or 0, error.strerror or "of an unknown error")
    return RunError(Reason.STORAGE_FAILED, f"{path} could not be {verb}: {why}.")


def is_missing(error: Exception) -> bool:
    """Whether an object, not its bucket or the user, is what the store did not find."""
    return isinstance(error, FileNotFoundError) and _code(str(error)) in (None, *_NO_OBJECT)


def _explain_remote(error: Exception, words: str, request: FailedRequest) -> RunError:
    place, host, code = request.place, server(request.place), _told_code(words, request)
    bucket = SCHEMES[place.scheme].first_part
    if any(mark in words for mark in _NO_BUCKET):
        return _misnamed(request, f"{host} has no {bucket} {place.bucket}; create it, or correct the URI")
    if any(mark in words for mark in _NO_CREDENTIALS):
        return _refused(request, f"no credentials were found; set {request.credentials}")
    if any(mark in words for mark in _NO_SIGNING_KEY):
        why = f"no key of a service account was found, as Google gives it; check {request.credentials}"
        return _refused(request, why)
    denied = (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)
    if (
        isinstance(error, denied)
        or code in _REFUSALS
        or _REFUSED.search(words)
        or any(mark in words for mark in _MALFORMED)
    ):
        meaning = f" ({_REFUSALS.get(code, code)})" if code else ""
        return _refused(request, f"{host} refused the credentials{meaning}; check {request.credentials}")
    if code in _BAD_BUCKET_NAME:
        return _misnamed(request, f"{host} takes no {bucket} of that name; correct the URI")
    if is_missing(error):
        return _failed(request, "it is not there; correct the URI")
    return _failed(request, _hint(code, request) or _connection_error(words, request) or _own_words(words, host))


def _hint(code: str | None, request: FailedRequest) -> str | None:
    variable = SCHEMES[request.place.scheme].region_variable
    if code not in _HINTS or variable is None:
        return None
    # A Secret opens stores in a cluster alone, where the operator sets the variable from the profile.
    by_profile = "the platform team sets the region of the profile's endpoint to it"
    remedy = by_profile if request.secret else f"set {variable} to it"
    return f"{server(request.place)} says that {_HINTS[code]}; {remedy}"


def _connection_error(words: str, request: FailedRequest) -> str | None:
    host = server(request.place)
    if "kind: Connect" in words:
        return f"{host} cannot be reached; {_endpoint_remedy(request.place, named='dns error' not in words)}"
    if "kind: Timeout" in words or "timed out" in words:
        return (
            f"{host} did not answer within {request.seconds:g} seconds; check the server and the network, or raise"
            " KUBETUNE_STORAGE_TIMEOUT_SECONDS"
        )
    if found := re.search(r"status: (\d{3})", words):
        code = f" ({code})" if (code := _told_code(words, request)) else ""
        return f"{host} answered with HTTP status {found[1]}{code}; look into its log, or try again later"
    if any(mark in words for mark in _NO_STORE):
        return (
            f"{host} does not answer as {SCHEMES[request.place.scheme].title} does; {_endpoint_remedy(request.place)}"
        )
    if _BARE_REDIRECT in words:
        return f"{host} sends elsewhere without saying where; check the endpoint, and the region of the bucket"
    if "kind: Request" in words or "kind: Interrupted" in words:
        return f"{host} broke the connection; check whether the server still runs"
    return None


def _endpoint_remedy(place: Location, *, named: bool = True) -> str:
    if endpoint_variable(place):
        return "check the endpoint, and whether the server runs"
    if (variable := usual_variable(place)) is None:
        return "check the network"
    called_after = SCHEMES[place.scheme].host_variable
    name = f" and {called_after}, after which its server is called" if called_after and not named else ""
    return (
        f"check the network{name}, or name a server of your own in {variable}, in a cluster in the profile's endpoints"
    )


def _failed(request: FailedRequest, why: str, reason: str = Reason.STORAGE_FAILED) -> RunError:
    return RunError(reason, f"{request.place.uri} could not be {request.verb}: {why}.")


def _misnamed(request: FailedRequest, why: str) -> RunError:
    """Not the store's error, and no better at another attempt."""
    return _failed(request, why, Reason.INVALID_MANIFEST)


def _refused(request: FailedRequest, why: str) -> RunError:
    return _failed(request, why, Reason.CREDENTIALS_REFUSED)


def _errno(error: Exception, request: FailedRequest) -> int | None:
    """The number of an error of this machine's own disk."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error)) if request.place.scheme == FILE else None
    return int(found[1]) if found else None


def _code(words: str) -> str | None:
    """The store's own code for the error, from the body of its answer."""
    found = _CODE.search(words)
    return found[1] if found else None


def _told_code(words: str, request: FailedRequest) -> str | None:
    """The code, if it may be told: a server can put there whatever it was sent."""
    code = _code(words)
    return None if code is None or is_part_of_a_value(code, request.secret) else code


def _first_line(words: str) -> str:
    line = next(iter(words.splitlines()), "").strip().rstrip(".")
    return line[:300] or "of an unknown error"


def _own_words(words: str, host: str) -> str:
    """What the client says itself. Behind its second colon or a quotation mark it repeats others."""
    own = ": ".join(_first_line(words).split(": ")[:2])
    own = re.split(r"['\"`?]|https?:", own)[0].strip(" :") or "of an unknown error"
    return f"{own}; look into the log of {host}, or try again later"
