"""URIs of object storage, taken apart by rules that are the same for every store."""

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from kubetune_api.reasons import Reason
from kubetune_api.schemes import FILE, SCHEMES, WRITABLE, scheme_of
from kubetune_api.tables import listed
from kubetune_trainer.errors import RunError


@dataclass(frozen=True)
class Location:
    """A place in a store: a file, a folder, or a pattern with `*`."""

    scheme: str
    """One to which a result may go: `s3`."""
    bucket: str
    """The bucket (Azure: the container); empty for `file`."""
    key: str
    """The path below the bucket (for `file`: below `/`), without a slash at either end."""

    @classmethod
    def parse(cls, uri: str) -> "Location":
        """Takes a URI apart; in `file://`, percent-encoded characters are decoded, elsewhere keys are taken as written.

        Raises RunError for another scheme, a relative `file://` path, a missing bucket, or a path that climbs (`..`):
        whoever wrote the URI has to correct it.
        """
        scheme, rest = scheme_of(uri), uri.partition("://")[2]
        if scheme not in WRITABLE:
            raise _unusable(uri, f"its scheme is none of {listed(WRITABLE)}")
        if scheme == FILE:
            rest = unquote(rest.removeprefix("localhost"))
            if not rest.startswith("/"):
                raise _unusable(uri, "the path after file:// is not absolute; write file:///folder/file")
        bucket, _, key = rest.partition("/")
        if (first := SCHEMES[scheme].first_part) and not bucket:
            raise _unusable(uri, f"it names no {first}; write {scheme}://{first}/path")
        if "@" in bucket or ":" in bucket:
            raise _unusable(f"{scheme}://…", "there are credentials in it; give them as variables (docs/storage.md)")
        if scheme == FILE:
            key = "/".join(part for part in key.split("/") if part)
        key = key.strip("/")
        if error := _error_of(key):
            raise _unusable(uri, error)
        return cls(scheme, bucket, key)

    def child(self, path: str) -> "Location":
        """The place `path` (relative, with slashes) below this one; RunError if it climbs out."""
        key = f"{self.key}/{path}" if self.key else path
        if error := _error_of(key):
            raise _unusable(f"{self.uri}/{path}", error, Reason.STORAGE_FAILED)  # a name that lay in the store
        return replace(self, key=key)

    @property
    def parent(self) -> "Location":
        """The folder that holds this."""
        return replace(self, key=self.key.rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.key.rpartition("/")[2]

    @property
    def uri(self) -> str:
        """The same as text, which parses to the same location."""
        # Of what parse decodes, a percent sign alone would be read as something else.
        key = self.key.replace("%", "%25") if self.scheme == FILE else self.key
        return f"{self.scheme}://{self.bucket}/{key}"

    @property
    def path(self) -> Path | None:
        """The path on this machine, for `file`."""
        return Path("/", self.key) if self.scheme == FILE else None


def _error_of(key: str) -> str | None:
    parts = key.split("/") if key else []
    if any(part in ("", ".", "..") for part in parts):
        return "its path contains an empty part, `.` or `..`; write the path in full"
    if any(ord(character) < ord(" ") or ord(character) == 127 for character in key):
        return "its path contains a control character"
    return None


def _unusable(uri: str, why: str, reason: str = Reason.INVALID_MANIFEST) -> RunError:
    return RunError(reason, f"The URI {uri} cannot be used: {why}.")
