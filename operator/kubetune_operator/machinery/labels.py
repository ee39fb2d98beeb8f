"""By what the operator finds again the objects that it makes, and tells whose they are."""

from dataclasses import dataclass

from kubetune_operator.machinery.kinds import Object

FIELD_MANAGER = "kubetune-operator"
"""Under which the API server keeps the fields that the operator sets."""
MANAGED_BY = "app.kubernetes.io/managed-by"
PRODUCT = "kubetune"
MANAGED = {MANAGED_BY: PRODUCT}
"""The label of every object that the operator makes, and of the pods that come of it."""
SELECTOR = f"{MANAGED_BY}={PRODUCT}"
"""What the informers of the operator's own objects ask for."""


@dataclass(frozen=True)
class OwnerLabels:
    """The labels that name the owner of an object."""

    uid: str
    """The key of the label with the owner's UID. An object without it belongs to none: its namespace shares it."""
    name: str
    """The key of the label with the owner's name."""


def controlled_by(obj: Object, uid: str) -> bool:
    """Whether the object's controller is the one with this UID. Labels alone are soon copied; of owners that control an
    object there is one."""
    owners = obj["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)
