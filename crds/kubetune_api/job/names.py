"""Types of the fields that several parts of a job share: names, revisions, URIs with their rules."""

import re
from typing import Annotated

from pydantic import Field, StringConstraints

from kubetune_api.base import Rule, words

MAX_NAME_LENGTH = 37
"""KubeRay takes RayJob names of up to 47 characters; `-<uid5>-<attempt>` needs ten of them."""
GitRevision = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{40}$", max_length=40),
    Field(json_schema_extra=words("the full commit, 40 hexadecimal digits in lower case")),
]
ModelUri = Annotated[
    str,
    StringConstraints(pattern=r"^(file|s3|gs|az|hf)://.+$", min_length=1, max_length=1024),
    Field(json_schema_extra=words("a URI that starts with file://, s3://, gs://, az:// or hf://, then the path")),
]
DatasetUri = ModelUri
OutputUri = Annotated[
    str,
    StringConstraints(pattern=r"^(file|s3|gs|az)://.+$", min_length=1, max_length=1024),
    Field(json_schema_extra=words("a URI that starts with file://, s3://, gs:// or az://, then the path")),
]
NAME_WORDS = "lowercase letters, digits and `-`, which starts and ends no name"
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
ProfileName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=NAME_PATTERN),
    Field(json_schema_extra=words(f"the name of a FineTuneProfile: at most 63 {NAME_WORDS}")),
]
SecretName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
    Field(json_schema_extra=words("the name of a Secret: lowercase letters, digits, `-` and `.`")),
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


# Paths of `file://` are tidied up when the manifest is read: `.`, `..` and `//` may stand there.
URI_RULES = (
    _no_uri_like(
        "^(s3|gs|az|hf)://[^/]*[@:]",
        "credentials do not belong into a URI, so no `@` and no `:` stands in its first part; use the standard"
        " environment variables",
        quotes_value=False,
    ),
    _no_uri_like("^(s3|gs|az|hf):///", "the URI has no first part; name the bucket there, as in s3://bucket/path"),
    _no_uri_like(
        "^(s3|gs|az|hf)://(.*/)?([.][.]?(/|$)|[^/]+//)",
        "the path of the URI holds an empty part, `.` or `..`; write the path in full",
    ),
)
REVISION_OF_DATA = "a revision, 40 hexadecimal digits, goes with an hf:// dataset and with no other"


def is_hub(uri: str) -> bool:
    """Whether a URI is one of the Hugging Face hub."""
    return uri.startswith("hf://")
