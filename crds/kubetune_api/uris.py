"""Relative file URIs: `file://./data/x.csv` in a manifest lies beside the manifest."""

import posixpath
from pathlib import Path

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


def _absolute(uri: str, folder: Path) -> str:
    if not uri.startswith(_FILE):
        return uri
    # Text, not the file system: a pattern is no file, and a link shall stay the name that its owner gave it.
    path = posixpath.normpath(posixpath.join(folder.absolute().as_posix(), uri.removeprefix(_FILE)))
    return _FILE + "/" + path.lstrip("/")
