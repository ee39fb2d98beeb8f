"""Types of the fields that several parts of a job share: names, revisions, URIs with their rules."""

import re
from typing import Annotated

from pydantic import Field, StringConstraints

from kubetune_api.base import Rule, words
from kubetune_api.object_names import SUBDOMAIN
from kubetune_api.schemes import PINNED, REMOTE, SCHEMES, WRITABLE, scheme_of, scheme_texts
from kubetune_api.tables import Matches
from kubetune_api.uris import Use

MAX_NAME_LENGTH = 37
"""KubeRay takes RayJob names of up to 47 characters; `-<uid5>-<attempt>` needs ten of them."""
GitRevision = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{40}$", max_length=40),
    Field(json_schema_extra=words("the full commit, 40 hexadecimal digits in lower case")),
]


def _uri_of(schemes: tuple[str, ...]) -> Matches:
    return Matches(
        lambda: f"^({'|'.join(schemes)})://.+$",
        lambda: f"a URI that starts with {scheme_texts(schemes)}, then the path",
    )


SourceUri = Annotated[str, Use.READ, StringConstraints(min_length=1, max_length=1024), _uri_of(tuple(SCHEMES))]
"""Of what a run reads."""
OutputUri = Annotated[str, Use.WRITE, StringConstraints(min_length=1, max_length=1024), _uri_of(WRITABLE)]
"""Of what a run writes."""
NAME_WORDS = "lowercase letters, digits and `-`; it must not start or end with `-`"
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
ProfileName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=NAME_PATTERN),
    Field(json_schema_extra=words(f"the name of a FineTuneProfile: at most 63 {NAME_WORDS}")),
]
SecretName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    Matches(
        lambda: f"^{SUBDOMAIN}$",
        lambda: "the name of a Secret: lowercase letters, digits, `-` and `.`",
    ),
]
QueueName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=NAME_PATTERN),
    Field(json_schema_extra=words(f"the name of a queue or class: at most 63 {NAME_WORDS}")),
]


def _no_uri_like(pattern: str, message: str, *, quotes_value: bool = True) -> Rule:
    """The rule that no `uri` matches; the pattern in what RE2 and Python read alike, without backslash and quote."""
    return Rule(
        cel=f"!self.uri.matches('{pattern}')",
        message=message,
        holds=lambda part: re.search(pattern, part.uri) is None,
        field="uri",
        quotes_value=quotes_value,
    )


_REMOTE = f"^({'|'.join(REMOTE)})://"
# Paths of `file://` are tidied up when the manifest is read: `.`, `..` and `//` may stand there.
URI_RULES = (
    _no_uri_like(
        f"{_REMOTE}[^/]*[@:]",
        "a URI must not contain credentials, so its first part may have no `@` and no `:`; use the standard"
        " environment variables",
        quotes_value=False,
    ),
    _no_uri_like(f"{_REMOTE}/", "the URI has no first part; name the bucket there, such as s3://bucket/path"),
    _no_uri_like(
        f"{_REMOTE}(.*/)?([.][.]?(/|$)|[^/]+//)",
        "the path of the URI contains an empty part, `.` or `..`; write the path in full",
    ),
)
_IS_PINNED = " || ".join(f"self.uri.startsWith('{scheme}://')" for scheme in PINNED)


def is_pinned(uri: str) -> bool:
    """Whether what the URI names needs a revision."""
    return scheme_of(uri) in PINNED


PINNED_DATA = Rule(
    cel=f"({_IS_PINNED}) == has(self.revision)",
    message=f"a revision, 40 hexadecimal digits, goes with an {scheme_texts(PINNED)} dataset and with no other",
    holds=lambda source: is_pinned(source.uri) == (source.revision is not None),
    field="revision",
)
"""Data of the hub has a revision, other data none."""
PINNED_MODEL = (
    Rule(
        cel=f"!({_IS_PINNED}) || has(self.revision)",
        message="a model of the hub needs its commit, 40 hexadecimal digits, so that a retrain starts from the same"
        " weights; the page 'Files and versions' of the model shows it",
        holds=lambda model: not is_pinned(model.uri) or model.revision is not None,
        field="revision",
    ),
    Rule(
        cel=f"{_IS_PINNED} || !has(self.revision)",
        message=f"only {scheme_texts(PINNED)} models have a revision; remove it, or name the version in the path of"
        " the URI",
        holds=lambda model: is_pinned(model.uri) or model.revision is None,
        field="revision",
    ),
)
"""The same of a model."""
