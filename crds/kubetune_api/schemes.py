"""Where models and data come from and results go: one row for each scheme of a URI.

What a URI may say, which variables and which keys of a Secret count, and how each place is called follow from the rows.
The client of each scheme is in the trainer's `storage/`; a test holds the keys of both against each other.
"""

from dataclasses import dataclass

from kubetune_api.tables import listed


@dataclass(frozen=True)
class SchemeRow:
    """One scheme."""

    title: str
    """The place for people: "Amazon S3"."""
    first_part: str | None
    """What the part after `//` names: a bucket; None where a path of this machine begins there."""
    writable: bool = True
    """Whether a result may go there."""
    pinned: bool = False
    """Whether what lies there is named with a revision, its commit."""
    variables: str = ""
    """The variables of the environment that hold its credentials, as an error names them."""
    keys: str = ""
    """The keys of a Secret that hold them."""
    endpoint_variables: tuple[str, ...] = ()
    """The variables that name a server in place of the public one; the first that is set counts."""
    usual_endpoint_variable: str | None = None
    """The one of them that people set."""
    allow_http_variable: str | None = None
    """The variable that lets requests to such a server go unencrypted; None where nothing does."""
    region_variable: str | None = None
    """The variable for the region that requests are signed for."""
    host_variable: str | None = None
    """The variable, and the key of a Secret, after whose value the public server is called."""


FILE, HUB = "file", "hf"
HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - its name
"""The variable, and the key of a Secret, for the token of the hub."""
STORAGE_ACCOUNT = "[a-z0-9]{3,24}"
"""The name of an Azure storage account: it becomes a part of its server's name, so nothing else may stand in it."""
_AWS_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary ones)"
_AZURE_KEYS = "AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN"

SCHEMES: dict[str, SchemeRow] = {
    FILE: SchemeRow("this machine", first_part=None),
    "s3": SchemeRow(
        "Amazon S3",
        first_part="bucket",
        variables=_AWS_KEYS,
        keys=_AWS_KEYS,
        endpoint_variables=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        usual_endpoint_variable="AWS_ENDPOINT_URL",
        allow_http_variable="AWS_ALLOW_HTTP",
        region_variable="AWS_REGION",
    ),
    "gs": SchemeRow(
        "Google Cloud Storage",
        first_part="bucket",
        variables="GOOGLE_APPLICATION_CREDENTIALS",
        keys="GOOGLE_SERVICE_ACCOUNT_KEY (the JSON of a service account's key)",
        endpoint_variables=("GOOGLE_BASE_URL",),
        usual_endpoint_variable="GOOGLE_BASE_URL",
        allow_http_variable="GOOGLE_ALLOW_HTTP",
    ),
    "az": SchemeRow(
        "Azure Blob Storage",
        first_part="container",
        variables=_AZURE_KEYS,
        keys=_AZURE_KEYS,
        endpoint_variables=("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
        usual_endpoint_variable="AZURE_STORAGE_ENDPOINT",
        allow_http_variable="AZURE_ALLOW_HTTP",
        host_variable="AZURE_STORAGE_ACCOUNT_NAME",
    ),
    HUB: SchemeRow(
        "the Hugging Face hub",
        first_part="owner",
        writable=False,
        pinned=True,
        variables=HUB_TOKEN,
        keys=HUB_TOKEN,
        endpoint_variables=("HF_ENDPOINT",),
        usual_endpoint_variable="HF_ENDPOINT",
    ),
}
"""By the part of a URI before `://`, in the order in which they are listed everywhere."""
WRITABLE = tuple(name for name, scheme in SCHEMES.items() if scheme.writable)
"""Where a result may go."""
REMOTE = tuple(name for name, scheme in SCHEMES.items() if scheme.first_part is not None)
"""Where every machine sees the same."""
PINNED = tuple(name for name, scheme in SCHEMES.items() if scheme.pinned)
"""Where a revision is named."""
WITH_ENDPOINT = {name: scheme for name, scheme in SCHEMES.items() if scheme.endpoint_variables}
"""Those that another server may stand in for."""


def scheme_of(uri: str) -> str:
    """The scheme of a URI: the text before `://`; empty if there is none."""
    scheme, separator, _ = uri.partition("://")
    return scheme if separator else ""


def hub_name(uri: str) -> str | None:
    """`owner/name` of a URI of the hub; nothing else has a name that it knows."""
    if scheme_of(uri) != HUB:
        return None
    path = uri.removeprefix(f"{HUB}://").removeprefix("datasets/").removeprefix("models/")
    return "/".join(path.split("/")[:2])


def scheme_texts(names: tuple[str, ...], conjunction: str = "or") -> str:
    """The schemes as URIs begin with them: "file://, s3:// or gs://"."""
    return listed((f"{name}://" for name in names), conjunction)


def folder_forms() -> str:
    """How a folder is named in each scheme to which a result may go: "`file:///path`, `s3://bucket/path`"."""
    return ", ".join(f"`{name}://{SCHEMES[name].first_part or ''}/path`" for name in WRITABLE)


def keys_in_words() -> str:
    """The keys that a Secret has for each scheme: "for s3:// …; for gs:// …"."""
    return "; ".join(f"for {name}:// {scheme.keys}" for name, scheme in SCHEMES.items() if scheme.keys)
