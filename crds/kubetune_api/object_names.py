"""Names as Kubernetes judges them: of objects, of labels, of resources.

All that the patterns take, Kubernetes takes: where it bounds a part of a name, the whole is bounded by as much here.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from kubetune_api.base import words

SUBDOMAIN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
"""The name of most objects, and the domain of a label's key."""
_LABEL_NAME = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_LONGEST = 253
"""Characters of a domain."""
_LONGEST_OF_A_QUOTA = _LONGEST - len("requests.")
"""A quota counts a resource under a name that begins so."""

ObjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=_LONGEST, pattern=f"^{SUBDOMAIN}$"),
    Field(json_schema_extra=words("the name of an object: lowercase letters and digits, in it also `-` and `.`")),
]
LabelKey = Annotated[
    str,
    StringConstraints(min_length=1, max_length=_LONGEST, pattern=f"^({SUBDOMAIN}/)?{_LABEL_NAME}$"),
    Field(json_schema_extra=words("the key of a label: `name` or `domain/name`, the name at most 63 characters")),
]
LabelValue = Annotated[
    str,
    StringConstraints(max_length=63, pattern=f"^({_LABEL_NAME})?$"),
    Field(json_schema_extra=words("the value of a label: at most 63 letters, digits, `-`, `_` and `.`")),
]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16)]
ResourceName = Annotated[
    str,
    StringConstraints(min_length=3, max_length=_LONGEST_OF_A_QUOTA, pattern=f"^{SUBDOMAIN}/{_LABEL_NAME}$"),
    Field(json_schema_extra=words("the name of an extended resource, such as nvidia.com/gpu")),
]
