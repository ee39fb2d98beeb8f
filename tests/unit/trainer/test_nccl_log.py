"""What NCCL connects nodes by, read from its own log. The samples are of others' clusters: NCCL has not run here."""

from mmap import ACCESS_READ, mmap
from pathlib import Path

import pytest

from kubetune_trainer.training.nccl_log import log_to_file, network

INFINIBAND = """\
node-0:812:1530 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_1:1/IB [RO]; OOB eth0:10.0.0.4<0>
node-0:812:1530 [0] NCCL INFO Using network IB
node-0:812:1530 [0] NCCL INFO ncclCommInitRankConfig comm 0x55 rank 0 nranks 16 - Init START
"""
NEWER = """\
node-0:812:1530 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/RoCE [RO]; OOB eth0:10.0.0.4<0>
node-0:812:1530 [0] NCCL INFO Initialized NET plugin IB
node-0:812:1530 [0] NCCL INFO Assigned NET plugin IB to comm
"""
SOCKET = """\
node-0:812:1530 [0] NCCL INFO Failed to open libibverbs.so[.1]
node-0:812:1530 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.4<0>
node-0:812:1530 [0] NCCL INFO Using network Socket
"""
ELASTIC = """\
node-0:812:1530 [0] NCCL INFO NET/OFI Selected Provider is efa (found 32 nics)
node-0:812:1530 [0] NCCL INFO Using network AWS Libfabric
"""


@pytest.mark.parametrize(
    ("log", "told"),
    [
        pytest.param(INFINIBAND, "NCCL connects the nodes by IB ([0]mlx5_0:1/IB [1]mlx5_1:1/IB", id="InfiniBand"),
        pytest.param(NEWER, "NCCL connects the nodes by IB ([0]mlx5_0:1/RoCE", id="RoCE, of a newer NCCL"),
        pytest.param(ELASTIC, "NCCL connects the nodes by AWS Libfabric", id="a plugin"),
        pytest.param(SOCKET, "NCCL connects the nodes by TCP, Socket ([0]eth0:10.0.0.4<0>), and", id="TCP"),
    ],
)
def test_the_network_is_told_in_a_sentence(log: str, told: str) -> None:
    said = network(log.splitlines(keepends=True))
    assert said is not None
    assert said.startswith(told)


def test_a_log_without_it_tells_nothing() -> None:
    assert network([]) is None
    assert network(["node-0:812:1530 [0] NCCL INFO Bootstrap : Using eth0:10.0.0.4<0>\n"]) is None


def test_the_log_goes_to_a_file_unless_the_profile_asks_for_it() -> None:
    asked, open_ = {"NCCL_DEBUG": "WARN"}, dict[str, str]()
    assert log_to_file(asked) is None
    assert asked == {"NCCL_DEBUG": "WARN"}
    file = log_to_file(open_)
    assert file is not None
    assert open_ == {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET", "NCCL_DEBUG_FILE": str(file)}
    assert isinstance(file, Path)


def test_nccl_itself_has_the_words_that_are_looked_for() -> None:
    import nvidia.nccl

    (file,) = Path(next(iter(nvidia.nccl.__path__))).glob("lib/libnccl.so*")
    with file.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as library:
        for words in (b"Assigned NET plugin %s to comm", b"NET/IB : Using%s", b"NET/Socket : Using%s"):
            assert library.find(words) >= 0, words
