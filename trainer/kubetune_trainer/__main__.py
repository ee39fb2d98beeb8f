"""`python -m kubetune_trainer RUN.json`: trains one run and tells its events as JSON lines."""

import argparse
import ctypes
import os
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from kubetune_api.outcome import Ending
from kubetune_api.run import Run
from kubetune_api.status import FineTuneJobStatus, Reason
from kubetune_trainer.errors import RunError, storage_is_full
from kubetune_trainer.events import JsonLines, LastProgress

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Returns 0 if the run succeeded, 1 if it did not; the reason is in the last event."""
    arguments = _arguments()
    if sys.platform == "linux":
        # Should whoever started us be killed outright, Ray's processes must not go on without anyone to stop them.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    run = Run.model_validate_json(arguments.run.read_bytes())
    with os.fdopen(arguments.events, "w", encoding="utf-8") as stream:
        listener = LastProgress(JsonLines(stream))
        status = _run(run, listener, arguments.cache)
        listener.finished(status)
    return 0 if status.phase == "Succeeded" else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kubetune_trainer", description=__doc__)
    parser.add_argument("run", type=Path, help="a file with the run, as JSON")
    parser.add_argument("--events", type=int, default=1, help="the file descriptor for the events (default: 1)")
    cache = Path(os.environ.get("KUBETUNE_CACHE") or Path.home() / ".cache" / "kubetune")
    parser.add_argument("--cache", type=Path, default=cache, help="a folder for fetched models and data")
    return parser.parse_args()


def _run(run: Run, listener: LastProgress, cache: Path) -> FineTuneJobStatus:
    started_at = _now()
    try:
        # Imported here: torch and Ray take seconds, and a fault in them must reach the user as an event too.
        from kubetune_trainer.driver import execute

        finished = execute(run, listener=listener, cache=cache, started_at=started_at, now=_now)
    except RunError as fault:
        traceback.print_exc()
        reason, message = fault.reason, fault.message
    except OSError as fault:
        traceback.print_exc()
        reason, message = _explain(fault)
    except Exception as fault:  # whatever it was, the user gets a status, and the log the whole of it
        traceback.print_exc()
        reason, message = Reason.UNKNOWN, f"{type(fault).__name__}: {fault}"
    else:
        return finished.status(listener.last)
    ending = Ending(run.run_id, started_at=started_at, finished_at=_now(), progress=listener.last)
    return ending.failed(reason, message)


def _explain(fault: OSError) -> tuple[str, str]:
    if storage_is_full(fault):
        where = fault.filename or "a temporary file"
        return Reason.STORAGE_FAILED, (
            f"the disk is full ({where}); free some space, or set TMPDIR to a folder on a larger disk"
        )
    return Reason.UNKNOWN, f"{type(fault).__name__}: {fault}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


if __name__ == "__main__":
    sys.exit(main())
