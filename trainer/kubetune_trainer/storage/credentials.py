"""Which credentials open which part of object storage: the mounted Secret of the longest prefix that fits.

Where none fits, the standard environment variables count. A value leaves its file for the store's client alone.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from kubetune_api.reasons import Reason
from kubetune_api.run import MountedSecret, Run
from kubetune_api.schemes import HUB, HUB_TOKEN, REMOTE, SCHEMES, STORAGE_ACCOUNT, scheme_of, scheme_texts
from kubetune_api.tables import listed
from kubetune_api.uris import lies_below
from kubetune_trainer.errors import RunError

_LARGEST = 65_536
"""Bytes of a key's file that are read; the largest is the JSON of a Google key, of 2,500."""
_GOOGLE_KEY = ("client_email", "private_key_id", "private_key")
"""What the JSON of a Google key must hold, and all of it that counts."""
_SHORTEST = 8
"""Characters of a value that is told apart from other words; shorter ones open nothing."""
_BETWEEN = (re.compile(r'[\s"]+|\\n'), re.compile("[&=]+"), re.compile("%"))
"""What separates the lines of a key and the texts of a JSON, the fields of a signature, and the signs of a URL."""
_SECRET_VARIABLES = re.compile("KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL", re.IGNORECASE)
ONE_LINE = "one line, without signs that cannot be printed"
"""What each value must be that goes into a request: obstore ends the whole process for another one."""
_GOOD_FOR = timedelta(minutes=1)
"""Less than the five minutes that the client wants ahead of it, so that it reads the files anew for each request: keys
are changed while a training runs, and those before may be refused at once."""


@dataclass(frozen=True)
class Secret:
    """A Secret as Kubernetes mounts it: one file a key. Other keys than those wanted are left alone."""

    prefix: str
    """The URIs that it opens."""
    folder: Path
    accounts: tuple[str, ...] = ()
    """The storage accounts that it may name; none: any."""

    def client_options(self, scheme: str) -> dict[str, Any]:
        """What obstore's client takes in place of what the environment says; nothing for `file`."""
        return KEYS[scheme](self) if scheme in KEYS else {}

    def hub_token(self) -> str:
        """The token for the Hugging Face hub."""
        return self._demand(HUB_TOKEN, HUB)

    def s3(self) -> dict[str, Any]:
        """For S3's client: what gives it the keys as they are at the time."""
        self._s3_key()  # what is missing is told here, not from a thread of the client
        # Not as settings: those it would mix with a session token of the environment.
        return {"credential_provider": self._s3_key}

    def _s3_key(self) -> dict[str, Any]:
        return {
            "access_key_id": self._demand("AWS_ACCESS_KEY_ID", "s3"),
            "secret_access_key": self._demand("AWS_SECRET_ACCESS_KEY", "s3"),
            "token": self._line("AWS_SESSION_TOKEN"),
            "expires_at": datetime.now(UTC) + _GOOD_FOR,
        }

    def gs(self) -> dict[str, Any]:
        """For Google's client."""
        try:
            key = json.loads(self._demand("GOOGLE_SERVICE_ACCOUNT_KEY", "gs", self._value))
            # Of the other fields that the client knows, one names a server, and one turns the signatures off.
            known = {"type": "service_account"} | {field: str(key[field]) for field in _GOOGLE_KEY}
            is_key = key["type"] == known["type"]
        except (ValueError, TypeError, KeyError):
            is_key = False
        if not is_key:
            raise self._unusable(
                "GOOGLE_SERVICE_ACCOUNT_KEY", "the JSON of a service account's key, as Google gives it"
            )
        return {"service_account_key": json.dumps(known)}

    def az(self) -> dict[str, Any]:
        """For Azure's client: the account, and what gives it the key or token as it is at the time."""
        self._az_key()
        account = self._demand("AZURE_STORAGE_ACCOUNT_NAME", "az")
        if not re.fullmatch(STORAGE_ACCOUNT, account):
            raise self._unusable(
                "AZURE_STORAGE_ACCOUNT_NAME", "the account's name, 3 to 24 lowercase letters and digits"
            )
        if self.accounts and account not in self.accounts:
            allowed = listed(self.accounts, "or")
            raise self._unusable(
                "AZURE_STORAGE_ACCOUNT_NAME", f"one that the profile allows (allowedStorageAccounts): {allowed}"
            )
        return {"account_name": account, "credential_provider": self._az_key}

    def _az_key(self) -> dict[str, Any]:
        expires = {"expires_at": datetime.now(UTC) + _GOOD_FOR}
        if sas := self._line("AZURE_STORAGE_SAS_TOKEN"):
            return {"sas_token": sas, **expires}
        return {"access_key": self._demand("AZURE_STORAGE_ACCOUNT_KEY", "az"), **expires}

    def _unusable(self, key: str, wanted: str) -> RunError:
        """The error, which does not repeat the value."""
        return RunError(
            Reason.CREDENTIALS_REFUSED,
            f"The {key} in the Secret for {self.prefix} cannot be used; it must be {wanted}.",
        )

    def _demand(self, key: str, scheme: str, read: Callable[[str], str | None] | None = None) -> str:
        value = (read or self._line)(key)
        if value is None:
            raise RunError(
                Reason.CREDENTIALS_REFUSED,
                f"The Secret for {self.prefix} has no {key}; {scheme}:// takes {SCHEMES[scheme].keys}, each a key of"
                " it.",
            )
        return value

    def _line(self, key: str) -> str | None:
        """A value that goes into requests, which carry no line breaks."""
        value = self._value(key)
        if value is not None and not value.isprintable():
            raise self._unusable(key, ONE_LINE)
        return value

    def values(self) -> list[str]:
        """What every key of it holds."""
        try:
            keys = [path.name for path in self.folder.iterdir() if path.is_file()]
        except OSError:
            return []
        return [value for key in keys if (value := self._value(key))]

    def _value(self, key: str) -> str | None:
        """Without the line's end that files often have and keys never."""
        try:
            with (self.folder / key).open(encoding="utf-8") as file:
                return file.read(_LARGEST).strip() or None
        except (OSError, UnicodeDecodeError):
            return None


KEYS: dict[str, Callable[[Secret], dict[str, Any]]] = {"s3": Secret.s3, "gs": Secret.gs, "az": Secret.az}
"""What the client of each scheme takes from a Secret; the hub takes its token, this machine nothing."""


@dataclass(frozen=True)
class StoreCredentials:
    """All Secrets of a run."""

    secrets: tuple[MountedSecret, ...] = ()
    accounts: tuple[str, ...] = ()
    """The storage accounts that they may name; none: any."""
    ambient: bool = True
    """Whether the environment counts where no Secret fits."""
    prefixes: tuple[str, ...] = ()
    """Where what is read must lie that the job itself does not name; none: anywhere."""
    in_cluster: bool = False
    """Whether this machine is a pod, whose own disk no job may name."""

    @classmethod
    def of(cls, run: Run) -> "StoreCredentials":
        """Those that the run came with."""
        return cls(
            tuple(run.credentials),
            tuple(run.allowed_storage_accounts),
            run.ambient_credentials,
            tuple(run.allowed_uri_prefixes),
            run.report_to is not None,
        )

    def refuse_forbidden(self, uri: str, what: str) -> None:
        """RunError where the operator would have refused the URI of `what`, which it has not seen in the job."""
        if self.in_cluster and scheme_of(uri) not in REMOTE:
            why = f"in a cluster that is the pod's own disk; copy it to {scheme_texts(REMOTE)}"
        elif self.prefixes and not any(lies_below(uri, prefix) for prefix in self.prefixes):
            allowed = ", ".join(self.prefixes)
            why = f"the profile (allowedUriPrefixes) allows only URIs under {allowed}; copy it there"
        else:
            return
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"spec.model.uri: {what} is {uri}, and {why} and name it in adapter_config.json, or choose another"
            " adapter.",
        )

    def opening(self, uri: str) -> Secret | None:
        """The Secret of the longest prefix that fits; None where the environment counts.

        Raises RunError where neither may be: what no key opens, the client would open as the machine that it is on.
        """
        fitting = [secret for secret in self.secrets if lies_below(uri, secret.prefix)]
        if not fitting and not self.ambient and scheme_of(uri) in KEYS:
            raise RunError(
                Reason.CREDENTIALS_REFUSED,
                f"No Secret of the job or of its profile is for {uri}, and the profile has no serviceAccountName; name"
                f" a Secret in spec.credentials, with {SCHEMES[scheme_of(uri)].keys}.",
            )
        if not fitting:
            return None
        # Of two for the same prefix, the first is the job's own.
        longest = max(fitting, key=lambda secret: len(secret.prefix.rstrip("/")))
        return Secret(longest.prefix, Path(longest.folder), self.accounts)

    def hidden(self, words: str, said: str) -> str:
        """The words without anything of any Secret; what is `said` in the run itself, or names a server, is none."""
        servers = [os.environ.get(name, "") for scheme in SCHEMES.values() for name in scheme.endpoint_variables]
        secrets = [Secret(each.prefix, Path(each.folder)) for each in self.secrets]
        return hidden(words, *secrets, said="\n".join([said, *servers]))


def hidden(words: str, *secrets: Secret | None, said: str = "") -> str:
    """The words of another without anything that opens a store: servers may repeat the whole request, or a part."""
    texts = {text for value in _values(secrets) for text in _texts(value)}
    for text in sorted((text for text in texts if text not in said), key=len, reverse=True):
        words = words.replace(text, "***")
    return words


def is_part_of_a_value(word: str, secret: Secret | None) -> bool:
    """Whether a server may have cut a word out of what opens a store."""
    return any(word in value for value in _values([secret]))


def _values(secrets: Iterable[Secret | None]) -> list[str]:
    """What the environment and these Secrets hold."""
    by_name = (value for name, value in os.environ.items() if _SECRET_VARIABLES.search(name))
    return [*by_name, *(value for secret in secrets if secret for value in secret.values())]


def _texts(value: str) -> Iterator[str]:
    """The value and its parts, as they are and as they are written in a URL or read from one."""
    parts = [value]
    for between in _BETWEEN:
        parts += [part for whole in parts for part in between.split(whole)]
    for part in parts:
        plain = unquote(part)
        yield from (text for text in (part, plain, quote(plain, safe="")) if len(text) >= _SHORTEST)


def wanted(uri: str, secret: Secret | None) -> str:
    """What opens the URI, as a remedy names it: keys of the Secret that was used, or variables of the environment."""
    scheme = SCHEMES[scheme_of(uri)]
    return f"{scheme.keys} in the Secret for {secret.prefix}" if secret else scheme.variables


ENVIRONMENT = StoreCredentials()
"""No Secret: the standard environment variables count everywhere."""
