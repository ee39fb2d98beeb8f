"""Where URIs lie: relative ones beside the manifest (`file://./data/x.csv`), and one below another."""

import posixpath
from pathlib import Path
from urllib.parse import unquote

from kubetune_api.job import FineTuneJob

_FILE = "file://"


def resolve_relative_uris(job: FineTuneJob, folder: Path) -> FineTuneJob:
    """The job with every file URI made absolute and free of `.` and `..`; relative ones start at `folder`."""
    spec = job.spec
    data = spec.dataset
    sources = {
        name: source.model_copy(update={"uri": _absolute(source.uri, folder)})
        for name, source in (("validation", data.validation), ("test", data.test))
        if source is not None
    }
    changed = {
        "model": spec.model.model_copy(update={"uri": _absolute(spec.model.uri, folder)}),
        "dataset": data.model_copy(update={"uri": _absolute(data.uri, folder), **sources}),
        "output": spec.output.model_copy(update={"uri": _absolute(spec.output.uri, folder)}),
    }
    return job.model_copy(update={"spec": spec.model_copy(update=changed)})


def lies_below(uri: str, prefix: str) -> bool:
    """Whether `uri` is `prefix` or lies below it, after a `/`. A path that climbs, `%2e%2e` included, lies nowhere."""
    parts, leading = _parts(uri), _parts(prefix)
    return parts[: len(leading)] == leading and not {".", ".."}.intersection(parts)


def _parts(uri: str) -> list[str]:
    scheme, separator, rest = uri.partition("://")
    path = unquote(rest.removeprefix("localhost")) if scheme + separator == _FILE else rest
    return [scheme + separator, *(part for part in path.split("/") if part)]


def _absolute(uri: str, folder: Path) -> str:
    if not uri.startswith(_FILE):
        return uri
    # Text, not the file system: a pattern is no file, and a link shall stay the name that its owner gave it.
    start = folder.absolute().as_posix().replace("%", "%25")  # a path, not yet a URI
    path = posixpath.normpath(posixpath.join(start, uri.removeprefix(_FILE)))
    return _FILE + "/" + path.lstrip("/")
