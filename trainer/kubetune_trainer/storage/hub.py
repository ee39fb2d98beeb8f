"""Repositories of the Hugging Face hub, through its own library and standard variables (HF_TOKEN, HF_ENDPOINT)."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, RepoFile, RepoFolder, snapshot_download
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from kubetune_api.status import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import LocalFile
from kubetune_trainer.storage.digests import sha256_of
from kubetune_trainer.storage.faults import explain_local
from kubetune_trainer.storage.store import ObjectInfo

_DATASETS = "datasets/"
_REFUSED = (401, 403)


class HubRepository:
    """One commit of a model or of a dataset."""

    def __init__(self, name: str, revision: str, *, dataset: bool = False) -> None:
        disable_progress_bars()
        self._name, self._revision, self._kind = name, revision, "dataset" if dataset else "model"
        # Read at each use, as obstore reads its own: the library would read it once, when imported.
        self._endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
        self._api = HfApi(endpoint=self._endpoint)

    @classmethod
    def parse(cls, uri: str, revision: str | None) -> tuple["HubRepository", str]:
        """`hf://owner/name[/path]` or `hf://datasets/owner/name/path`: the repository, and the path in it."""
        rest = uri.removeprefix("hf://")
        dataset = rest.startswith(_DATASETS)
        parts = rest.removeprefix(_DATASETS).strip("/").split("/")
        if len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
            form = "hf://datasets/owner/name/path" if dataset else "hf://owner/name"
            raise RunError(Reason.STORAGE_FAILED, f"The URI {uri} cannot be used: write {form}.")
        if revision is None:
            raise RunError(Reason.STORAGE_FAILED, f"{uri} needs a revision: the commit, 40 hexadecimal digits.")
        return cls("/".join(parts[:2]), revision, dataset=dataset), "/".join(parts[2:])

    def uri(self, path: str = "") -> str:
        """The full URI of a file."""
        root = f"hf://{_DATASETS if self._kind == 'dataset' else ''}{self._name}"
        return f"{root}/{path}" if path else root

    def children(self, path: str = "") -> tuple[list[str], list[ObjectInfo]]:
        """The names of the folders directly below `path`, and the files there, both sorted."""
        with self._faults(path):
            try:
                tree = list(
                    self._api.list_repo_tree(
                        self._name, path or None, revision=self._revision, repo_type=self._kind, recursive=False
                    )
                )
            except EntryNotFoundError:
                tree = []
        folders = sorted(entry.path.rpartition("/")[2] for entry in tree if isinstance(entry, RepoFolder))
        files = [
            ObjectInfo(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)
            for entry in tree
            if isinstance(entry, RepoFile)
        ]
        return folders, sorted(files, key=lambda info: info.path)

    def fetch(self, objects: Sequence[ObjectInfo], folder: Path) -> list[LocalFile]:
        """Downloads the files of the pinned commit, each to its path in the repository."""
        paths = [info.path for info in objects]
        with self._faults():
            snapshot_download(
                self._name,
                repo_type=self._kind,
                revision=self._revision,
                allow_patterns=paths,
                local_dir=folder,
                endpoint=self._endpoint,
            )
        return [self._local(info, folder / info.path) for info in objects]

    def _local(self, info: ObjectInfo, path: Path) -> LocalFile:
        size = path.stat().st_size
        if size != info.size:
            raise self._failed(info.path, f"{size} bytes came of {info.size}; start the run again")
        return LocalFile(path, self.uri(info.path), size, sha256_of(path))

    @contextmanager
    def _faults(self, path: str = "") -> Iterator[None]:
        try:
            yield
        except GatedRepoError:
            raise self._refused(f"its owner gives access on request; ask at {self._page}, then set HF_TOKEN") from None
        except RevisionNotFoundError:
            raise self._failed(path, f"it has no commit {self._revision}; correct the revision") from None
        except RepositoryNotFoundError:
            why = "there is no such repository, or HF_TOKEN does not give access to it; correct the URI, or set it"
            raise self._refused(why) from None
        except HFValidationError:
            raise self._failed(path, "this is not a repository's name; write owner/name") from None
        except HfHubHTTPError as error:
            raise self._answered(path, error.response.status_code) from None
        except (httpx2.HTTPError, LocalEntryNotFoundError):
            why = f"{self._endpoint} cannot be reached; check HF_ENDPOINT and the network"
            raise self._failed(path, why) from None
        except OSError as error:
            raise explain_local(error, str(error.filename or self.uri(path)), "written") from error

    @property
    def _page(self) -> str:
        return f"{self._endpoint}/{_DATASETS if self._kind == 'dataset' else ''}{self._name}"

    def _answered(self, path: str, status: int) -> RunError:
        if status in _REFUSED:
            return self._refused(f"{self._endpoint} refused the token (HTTP status {status}); check HF_TOKEN")
        return self._failed(path, f"{self._endpoint} answered with HTTP status {status}; try again later")

    def _refused(self, why: str) -> RunError:
        return RunError(Reason.CREDENTIALS_REFUSED, f"{self.uri()} could not be read: {why}.")

    def _failed(self, path: str, why: str) -> RunError:
        return RunError(Reason.STORAGE_FAILED, f"{self.uri(path)} could not be read: {why}.")
