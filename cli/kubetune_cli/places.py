"""Where a local run keeps what is not its result."""

import os
from pathlib import Path


def log_file(name: str, run_id: str) -> Path:
    """The file for Ray's and DeepSpeed's own output of a run."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = state / "kubetune" / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{run_id}.log"
