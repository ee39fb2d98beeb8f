"""Labels and annotations for the objects of a job, beside kubetune's own: those of its profile, and those of the job
that the profile allows.
"""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Rule, words
from kubetune_api.object_names import LabelKey, Labels

RESERVED = ("kubetune.dev", "ray.io", "kubernetes.io", "k8s.io", "x-k8s.io")
"""Whoever reads keys of these domains, and of those below them, acts on them."""
_RESERVED_PATTERN = f"^([^/]*[.])?({'|'.join(domain.replace('.', '[.]') for domain in RESERVED)})/"
Annotations = Annotated[dict[LabelKey, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=16)]
AllowedKeys = Annotated[
    list[
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=317, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9/])?$"),
            Field(json_schema_extra=words("a key, as example.com/team, or a domain with its slash, as example.com/")),
        ]
    ],
    Field(max_length=32),
]


def is_reserved(key: str) -> bool:
    """Whether a key is of a domain that kubetune, Ray, Kueue or Kubernetes acts on."""
    domain, slash, _ = key.partition("/")
    return bool(slash) and any(domain == known or domain.endswith(f".{known}") for known in RESERVED)


def _unreserved(field: str) -> Rule:
    return Rule(
        # An empty group is judged as a default before its own defaults are filled in.
        cel=f"!has(self.{field}) || self.{field}.all(key, !key.matches('{_RESERVED_PATTERN}'))",
        message=f"keys of {', '.join(RESERVED)} are not passed on, for others act on them; choose a key of your own"
        " domain",
        holds=lambda group: not any(is_reserved(key) for key in getattr(group, field)),
        field=field,
    )


class InheritedMetadata(ApiModel):
    """Labels and annotations for RayJobs, pods and ConfigMaps."""

    labels: Labels = Field({})
    """The labels."""
    annotations: Annotations = Field({})
    """The annotations."""

    rules: ClassVar = (_unreserved("labels"), _unreserved("annotations"))


class AllowedInheritedMetadata(ApiModel):
    """What a job's `inheritedMetadata` may hold: keys, and domains that end in `/`."""

    labels: AllowedKeys = Field([])
    """The keys of labels. Empty: none."""
    annotations: AllowedKeys = Field([])
    """The keys of annotations. Empty: none."""


def is_allowed(key: str, allowed: list[str]) -> bool:
    """Whether a key is one of these, or lies in one of the domains."""
    return any(key == each or (each.endswith("/") and key.startswith(each)) for each in allowed)
