"""A group of ranks without Ray: plain processes over gloo, for tests of the training itself."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def run_ranks(function: Callable[..., Any], workers: int, *arguments: Any) -> list[Any]:
    """Calls `function(*arguments)` on every rank of a group of `workers` processes; returns what each rank returned."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    port = _free_port()
    ranks = [
        context.Process(target=_rank, args=(rank, workers, port, results, function, arguments))
        for rank in range(workers)
    ]
    for process in ranks:
        process.start()
    returned = dict(results.get() for _ in ranks)
    for process in ranks:
        process.join()
    faults = [value for value in returned.values() if isinstance(value, BaseException)]
    if faults:
        raise faults[0]
    return [returned[rank] for rank in range(workers)]


def _rank(
    rank: int, workers: int, port: int, results: Any, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        RANK=str(rank),
        WORLD_SIZE=str(workers),
        LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE=str(workers),
        DS_ACCELERATOR="cpu",
    )
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    try:
        results.put((rank, function(*arguments)))
    except BaseException as fault:
        results.put((rank, RuntimeError(f"rank {rank}: {type(fault).__name__}: {fault}")))
        raise
    finally:
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
