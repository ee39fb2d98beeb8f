"""A group of ranks without Ray: plain processes over gloo, for tests of the training itself."""

import os
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def run_ranks(function: Callable[..., Any], workers: int, *arguments: Any) -> list[Any]:
    """Calls `function(*arguments)` on every rank of a group of `workers` processes; returns what each rank returned.

    The first rank that fails ends the others, which would wait for it for ever.
    """
    # Forked from a process that has imported everything: a fresh one would spend ten seconds on that.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__, "deepspeed"])
    port = _free_port()
    ranks: dict[Connection, Any] = {}
    for rank in range(workers):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_rank, args=(rank, workers, port, sending, function, arguments))
        process.start()
        sending.close()
        ranks[receiving] = process
    try:
        returned = dict(_received(ranks))
    finally:
        for process in ranks.values():
            process.terminate()
            process.join()
    return [returned[rank] for rank in range(workers)]


def _received(ranks: dict[Connection, Any]) -> Any:
    waiting = list(ranks)
    while waiting:
        for connection in wait(waiting):
            waiting.remove(connection)
            try:
                rank, result, error = connection.recv()
            except EOFError:
                ranks[connection].join()
                raise RuntimeError(f"a rank ended with exit code {ranks[connection].exitcode}") from None
            if error:
                raise RuntimeError(f"rank {rank}: {error}")
            yield rank, result


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
        results.send((rank, function(*arguments), None))
    except BaseException as error:
        results.send((rank, None, f"{type(error).__name__}: {error}"))
        raise
    finally:
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
