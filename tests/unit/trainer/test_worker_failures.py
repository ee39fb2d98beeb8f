"""What a failed group of workers means for the user, from the exceptions that Ray really raises."""

import errno
import pickle
from socket import gethostname

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from safetensors import SafetensorError

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError, accelerator_named
from kubetune_trainer.ray_runtime import explain, folder_for_sockets

TOO_LARGE = (
    "a worker ran out of memory; lower spec.training.microBatchSize or spec.task.maxLength (the result stays the same"
    " with a smaller micro-batch), raise spec.zero.stage, or use more workers"
)
ECC = "uncorrectable ECC error encountered"
NCCL_ABORTED = "NCCL communicator was aborted on rank 0."
SYSTEM_ERROR = "unhandled system error (run with NCCL_DEBUG=INFO for details)"
DIED = "a worker process died; see the end of the log (out of memory is the usual cause)"


def group(*failures: Exception) -> WorkerGroupError:
    return WorkerGroupError("it failed", dict(enumerate(failures)))


def dead(cause: Exception) -> Exception:
    """As Ray Train tells of a worker that does not answer any more."""
    return WorkerHealthCheckFailedError("A worker health check failed.", cause)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("failure", "reason", "message"),
    [
        pytest.param(
            group(RuntimeError("Connection closed by peer"), RunError(Reason.NOT_FINITE, "the loss of step 3 is nan")),
            Reason.NOT_FINITE,
            "the loss of step 3 is nan",
            id="our own error on one worker, its echo on another",
        ),
        pytest.param(
            ControllerError(caused(RuntimeError("no"), RunError(Reason.INVALID_MODEL, "no such model"))),
            Reason.INVALID_MODEL,
            "no such model",
            id="our own error, wrapped",
        ),
        pytest.param(
            group(RayTaskError("train", "", OutOfMemoryError("the node is full"))),
            Reason.OUT_OF_MEMORY,
            TOO_LARGE,
            id="Ray's memory monitor killed a worker",
        ),
        pytest.param(group(dead(OutOfMemoryError("the node is full"))), Reason.OUT_OF_MEMORY, TOO_LARGE, id="and so"),
        pytest.param(group(MemoryError()), Reason.OUT_OF_MEMORY, TOO_LARGE, id="Python found no memory"),
        *(
            pytest.param(group(RuntimeError(words)), Reason.OUT_OF_MEMORY, TOO_LARGE, id=words)
            for words in (
                "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
                "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
                "NCCL error in: ProcessGroupNCCL.cpp, cuda error\nLast error:\nCuda failure 2 'out of memory'",
            )
        ),
        pytest.param(
            group(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")),
            Reason.OUT_OF_MEMORY,
            TOO_LARGE,
            id="torch found no memory",
        ),
        pytest.param(
            group(OSError(errno.ENOSPC, "No space left on device", "/tmp/model.safetensors")),
            Reason.STORAGE_FAILED,
            "the disk of a worker is full (/tmp/model.safetensors); free some space, or set TMPDIR to a folder on a"
            " larger disk",
            id="a full disk",
        ),
        pytest.param(
            group(SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")),
            Reason.STORAGE_FAILED,
            "the disk of a worker is full (a temporary file); free some space, or set TMPDIR to a folder on a larger"
            " disk",
            id="a full disk, in safetensors' words",
        ),
        pytest.param(
            group(OSError(errno.EDQUOT, "Disk quota exceeded")),
            Reason.STORAGE_FAILED,
            "the disk of a worker is full (a temporary file); free some space, or set TMPDIR to a folder on a larger"
            " disk",
            id="a spent quota",
        ),
        pytest.param(
            group(RuntimeError("Connection closed by peer"), dead(ActorDiedError())),
            Reason.UNKNOWN,
            DIED,
            id="a worker process was killed",
        ),
        pytest.param(
            group(RuntimeError("NCCL error: unhandled cuda error. Last error: Cuda failure 2 'out of memory'")),
            Reason.OUT_OF_MEMORY,
            TOO_LARGE,
            id="NCCL found no memory on a GPU",
        ),
        pytest.param(
            group(RuntimeError(NCCL_ABORTED), RuntimeError(f"CUDA error: {ECC}\nCompile with `TORCH_USE_CUDA_DSA`.")),
            Reason.ACCELERATOR_FAILED,
            f"an accelerator of a worker failed: CUDA error: {ECC}; the platform team must look at its node, whose"
            " kernel's log has the number of the fault (NVRM: Xid)",
            id="a GPU failed on one worker, its echo on another",
        ),
        pytest.param(
            group(RuntimeError("CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`.")),
            Reason.UNKNOWN,
            "a worker failed: CUDA error: device-side assert triggered: as a rule an error of the program that runs on"
            " the GPU, not of the GPU; see the log for all of it",
            id="a kernel failed",
        ),
        pytest.param(
            group(RuntimeError(f"NCCL error: {SYSTEM_ERROR}"), RuntimeError(NCCL_ABORTED)),
            Reason.ACCELERATOR_FAILED,
            f"the workers do not reach each other any more: NCCL error: {SYSTEM_ERROR}; the platform team must look at"
            " the network and the GPUs of their nodes (with NCCL_DEBUG=INFO in the trainer's image the log says more)",
            id="NCCL failed everywhere",
        ),
        pytest.param(
            group(RuntimeError(NCCL_ABORTED), ValueError("an error of the program")),
            Reason.UNKNOWN,
            "a worker failed: ValueError: an error of the program; see the log for all of it",
            id="NCCL failed because a worker did",
        ),
        pytest.param(
            group(RuntimeError(NCCL_ABORTED), dead(ActorDiedError())), Reason.UNKNOWN, DIED, id="or because one died"
        ),
        pytest.param(
            group(ValueError("first line\nlast line\n")),
            Reason.UNKNOWN,
            "a worker failed: ValueError: last line; see the log for all of it",
            id="anything else",
        ),
        pytest.param(
            group(AssertionError()),
            Reason.UNKNOWN,
            "a worker failed: AssertionError: without a message; see the log for all of it",
            id="anything else, without a message",
        ),
    ],
)
def test_a_failed_group_is_told_in_a_sentence(failure: TrainingFailedError, reason: str, message: str) -> None:
    told = explain(failure)
    assert (told.reason, told.message) == (reason, message)


def test_the_way_through_rays_processes_changes_nothing() -> None:
    failure = group(dead(ActorDiedError()), RunError(Reason.INVALID_DATA, "row 2 has no text"))
    assert explain(pickle.loads(pickle.dumps(failure))).message == "row 2 has no text"


def test_errors_that_cause_each_other_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert explain(group(one)).message.startswith("a worker failed: ValueError: other")


@pytest.mark.parametrize(
    ("temporary", "place"),
    [
        pytest.param("/tmp", "/tmp", id="the usual one"),
        pytest.param("/scratch/someone/tmp", "/scratch/someone/tmp", id="another one"),
        pytest.param(
            "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T", "/tmp", id="too long for the paths of sockets"
        ),
    ],
)
def test_ray_gets_a_folder_whose_sockets_have_short_paths(temporary: str, place: str) -> None:
    assert folder_for_sockets(temporary) == place


@pytest.mark.parametrize("words", ["an illegal memory access was encountered", "unspecified launch failure"])
def test_an_error_of_a_kernel_is_no_fault_of_the_gpu(words: str) -> None:
    assert explain(group(RuntimeError(f"CUDA error: {words}"))).reason == Reason.UNKNOWN


def test_a_rank_tells_the_host_of_a_gpu_that_failed_so_that_its_node_can_be_found() -> None:
    with (
        pytest.raises(RunError, match=f"an accelerator of {gethostname()} failed: CUDA error: {ECC}"),
        accelerator_named(),
    ):
        raise RuntimeError(f"CUDA error: {ECC}")
    with pytest.raises(ValueError, match="another"), accelerator_named():
        raise ValueError("another error")
    with pytest.raises(RunError, match="our own"), accelerator_named():
        raise RunError(Reason.NOT_FINITE, f"our own: {ECC}")
