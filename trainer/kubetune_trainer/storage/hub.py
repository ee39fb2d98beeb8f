"""Repositories of the Hugging Face hub, through its own library and standard variables."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from kubetune_api.reasons import Reason
from kubetune_api.schemes import HUB, HUB_TOKEN, SCHEMES
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import LocalFile
from kubetune_trainer.storage.credentials import Secret, wanted
from kubetune_trainer.storage.digests import sha256_of
from kubetune_trainer.storage.endpoints import LOOPBACK
from kubetune_trainer.storage.errors import explain_local
from kubetune_trainer.storage.store import ObjectInfo
from kubetune_trainer.watchdog.pulse import PULSE

_SCHEME, _DATASETS = f"{HUB}://", "datasets/"
(_ENDPOINT,) = SCHEMES[HUB].endpoint_variables
_SECONDS = 10.0
"""How long the hub may take to answer."""
_DOWNLOADS_AT_ONCE = 4
_REFUSED = (401, 403)


class HubRepository:
    """One commit of a model or of a dataset."""

    def __init__(self, name: str, revision: str, secret: Secret | None = None, *, dataset: bool = False) -> None:
        disable_progress_bars()
        self._name, self._revision, self._kind = name, revision, "dataset" if dataset else "model"
        # Read at each use, as obstore reads its own: the library would read it once, when imported.
        self._endpoint = (os.environ.get(_ENDPOINT) or ENDPOINT).rstrip("/")
        _demand_encryption(self._endpoint, self.uri())
        # False, not None: the library would look for a token in the home folder.
        self._token = secret.hub_token() if secret else os.environ.get(HUB_TOKEN) or False
        self._wanted = wanted(self.uri(), secret)
        self._api = HfApi(endpoint=self._endpoint, token=self._token)

    @classmethod
    def parse(cls, uri: str, revision: str | None, secret: Secret | None = None) -> tuple["HubRepository", str]:
        """`hf://owner/name[/path]` or `hf://datasets/owner/name/path`: the repository, and the path in it."""
        rest = uri.removeprefix(_SCHEME)
        dataset = rest.startswith(_DATASETS)
        parts = rest.removeprefix(_DATASETS).strip("/").split("/")
        if len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
            form = f"{_SCHEME}{_DATASETS}owner/name/path" if dataset else f"{_SCHEME}owner/name"
            raise RunError(Reason.INVALID_MANIFEST, f"The URI {uri} cannot be used: write {form}.")
        if revision is None:
            raise RunError(Reason.INVALID_MANIFEST, f"{uri} needs a revision: the commit, 40 hexadecimal digits.")
        return cls("/".join(parts[:2]), revision, secret, dataset=dataset), "/".join(parts[2:])

    def uri(self, path: str = "") -> str:
        """The full URI of a file."""
        root = f"{_SCHEME}{_DATASETS if self._kind == 'dataset' else ''}{self._name}"
        return f"{root}/{path}" if path else root

    def children(self, path: str = "") -> tuple[list[str], list[ObjectInfo]]:
        """The names of the folders directly below `path`, and the files there, both sorted."""
        prefix = f"{path}/" if path else ""
        below = [info for info in self._files if info.path.startswith(prefix)]
        folders = {rest.partition("/")[0] for info in below if "/" in (rest := info.path.removeprefix(prefix))}
        return sorted(folders), [info for info in below if "/" not in info.path.removeprefix(prefix)]

    @cached_property
    def _files(self) -> list[ObjectInfo]:
        # One request for the whole commit: unlike the library's listing page by page, it has a time limit.
        with self._errors():
            ask = self._api.dataset_info if self._kind == "dataset" else self._api.model_info
            info = ask(self._name, revision=self._revision, files_metadata=True, timeout=_SECONDS)
        files = [
            ObjectInfo(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else file.blob_id or "")
            for file in info.siblings or []
        ]
        for file in files:
            if any(part in ("", ".", "..") for part in file.path.split("/")):
                raise self._failed(file.path, "its name leads out of the repository; ask its owner to rename it")
        return sorted(files, key=lambda file: file.path)

    def fetch(self, objects: Sequence[ObjectInfo], folder: Path) -> list[LocalFile]:
        """Downloads the files of the pinned commit, each to its path in the repository."""
        goes_on = PULSE.signs()
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            return list(pool.map(lambda info: self._download(info, folder, goes_on), objects))

    def _download(self, info: ObjectInfo, folder: Path, goes_on: Callable[[], None]) -> LocalFile:
        with self._errors(info.path):
            path = Path(
                hf_hub_download(
                    self._name,
                    info.path,
                    repo_type=self._kind,
                    revision=self._revision,
                    local_dir=folder,
                    endpoint=self._endpoint,
                    token=self._token,
                    etag_timeout=_SECONDS,
                )
            )
            size, digest = path.stat().st_size, sha256_of(path)
        if size != info.size or (len(info.version) == len(digest) and info.version != digest):
            raise self._failed(info.path, "the content differs from the hub's listing; start the run again")
        goes_on()
        return LocalFile(path, self.uri(info.path), size, digest)

    @contextmanager
    def _errors(self, path: str = "") -> Iterator[None]:
        try:
            yield
        except LocalEntryNotFoundError as error:  # the library's wrapping of what the server said
            raise self._explained(error.__cause__ or error, path) from None
        except (HfHubHTTPError, httpx2.HTTPError, XetDownloadError, OSError, ValueError) as error:
            raise self._explained(error, path) from None

    def _explained(self, error: BaseException, path: str) -> RunError:
        match error:
            case GatedRepoError():
                return self._refused(f"its owner gives access on request; ask at {self._page}, then set {self._wanted}")
            case RevisionNotFoundError():
                return self._failed(path, f"it has no commit {self._revision}; correct the revision")
            case RepositoryNotFoundError():
                return self._refused(
                    f"there is no such repository, or it is private; correct the URI, or set {self._wanted}"
                )
            case HFValidationError():
                return self._failed(path, "this is not the name of a repository; write owner/name")
            case ValueError() if path:
                return self._failed(path, f"the library of the hub refuses it: {error}".rstrip("."))
            case ValueError():
                return self._failed(path, f"{self._endpoint} does not answer like a hub; check {_ENDPOINT}")
            case HfHubHTTPError():
                return self._answered(path, error.response.status_code)
            case OSError() if error.errno:
                return explain_local(error, str(error.filename or self.uri(path)), "written")
        return self._failed(
            path, f"{self._endpoint} cannot be reached, or broke the connection; check {_ENDPOINT} and the network"
        )

    @property
    def _page(self) -> str:
        return f"{self._endpoint}/{_DATASETS if self._kind == 'dataset' else ''}{self._name}"

    def _answered(self, path: str, status: int) -> RunError:
        if status in _REFUSED:
            return self._refused(f"{self._endpoint} refused the token (HTTP status {status}); check {self._wanted}")
        return self._failed(path, f"{self._endpoint} answered with HTTP status {status}; try again later")

    def _refused(self, why: str) -> RunError:
        return RunError(Reason.CREDENTIALS_REFUSED, f"{self.uri()} could not be read: {why}.")

    def _failed(self, path: str, why: str) -> RunError:
        return RunError(Reason.STORAGE_FAILED, f"{self.uri(path)} could not be read: {why}.")


def _demand_encryption(endpoint: str, uri: str) -> None:
    """The token, and weights that nothing but the endpoint vouches for, leave this machine encrypted only."""
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise RunError(Reason.STORAGE_FAILED, f"{_ENDPOINT} is not a URL; set it to https://host or https://host:port.")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise RunError(
            Reason.STORAGE_FAILED,
            f"{uri} would be reached without encryption at {url.hostname}; set {_ENDPOINT} to an https:// endpoint.",
        )
