"""`/dev/shm` of a pod: for the data that Ray keeps, and for NCCL where GPUs do not reach each other directly."""

from kubetune_api.profile import LEAST_SHARED_MEMORY, SHARED_MEMORY, FineTuneProfileSpec
from kubetune_api.quantity import amount

_OF_SEVERAL = "8Gi"
"""Where GPUs talk to each other, too."""
_STORE_SHARE = 0.8
"""Ray keeps some of what it gets for itself."""
_STORE_SHARE_BESIDE_NCCL = 0.5


def shared_memory(profile: FineTuneProfileSpec, workers: int = 0) -> str:
    """The size of it in a pod with so many workers, of which the head has none."""
    if profile.shared_memory_size is not None:
        return profile.shared_memory_size
    if not _connects(profile, workers):
        return SHARED_MEMORY
    half = int(amount(profile.worker.memory)) * workers // 2
    return _OF_SEVERAL if half >= amount(_OF_SEVERAL) else str(half)


def object_store(profile: FineTuneProfileSpec, workers: int = 0) -> int:
    """What of it is for Ray's object store, in bytes; the rest is for NCCL."""
    size = _bytes(shared_memory(profile, workers))
    if not _connects(profile, workers):
        return int(size * _STORE_SHARE)
    if profile.shared_memory_size is None:
        return int(min(_bytes(SHARED_MEMORY) * _STORE_SHARE, size * _STORE_SHARE_BESIDE_NCCL))
    return int(max(_bytes(LEAST_SHARED_MEMORY) * _STORE_SHARE, size * _STORE_SHARE_BESIDE_NCCL))


def _bytes(quantity: str) -> float:
    return float(amount(quantity))


def _connects(profile: FineTuneProfileSpec, workers: int) -> bool:
    return profile.accelerator is not None and workers > 1
