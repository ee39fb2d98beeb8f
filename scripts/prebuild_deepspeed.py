"""Compiles DeepSpeed's shared-memory communication for the CPU, and writes down where the result is.

    prebuild_deepspeed.py FILE

The result is cached by torch (`TORCH_EXTENSIONS_DIR`, in the home folder by default) and found there by every run.
"""

import os
import subprocess
import sys

SECONDS = 900
"""Many times what the slowest machine needs."""

BUILD = """
import sys
from pathlib import Path
from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder
Path(sys.argv[1]).write_text(ShareMemCommBuilder().load().__file__)
"""


def main(note: str) -> None:
    """Builds in a process of its own, whose many lines are shown only if it fails."""
    try:
        subprocess.run(
            [sys.executable, "-c", BUILD, note],
            env={**os.environ, "DS_ACCELERATOR": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            timeout=SECONDS,
        )
    except subprocess.CalledProcessError as fault:
        raise SystemExit(f"{fault.stdout}\nDeepSpeed's CPU communication does not compile; see above") from None
    except subprocess.TimeoutExpired:
        # torch waits for the lock of a build that was killed, without a word and without an end.
        folder = os.environ.get("TORCH_EXTENSIONS_DIR", "~/.cache/torch_extensions")
        raise SystemExit(
            f"DeepSpeed's CPU communication did not compile within {SECONDS} s; if no other build runs, one was killed:"
            f" remove {folder}/*/deepspeed_shm_comm and try again"
        ) from None


if __name__ == "__main__":
    main(sys.argv[1])
