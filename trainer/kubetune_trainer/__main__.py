"""`python -m kubetune_trainer RUN.json`: trains one run and tells its events as JSON lines."""

import argparse
import ctypes
import hashlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

from kubetune_api.outcome import INTERRUPTED
from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_api.status import FineTuneJobStatus
from kubetune_api.times import timestamp
from kubetune_api.worker_pod import growing
from kubetune_trainer.config_map import SERVICE_ACCOUNT, ConfigMap
from kubetune_trainer.cores import settle_threads
from kubetune_trainer.errors import RunError, storage_is_full
from kubetune_trainer.events import JsonLinesListener, LastProgress
from kubetune_trainer.imports import uncollected
from kubetune_trainer.places import usable_folders
from kubetune_trainer.status_reporter import StatusReporter
from kubetune_trainer.stop_request import StopRequest
from kubetune_trainer.storage.credentials import StoreCredentials

Failed = Callable[[str, str], FineTuneJobStatus]
"""From reason and message to the status of the run that failed."""
_PR_SET_PDEATHSIG = 1
_RAY_TRAIN = {
    "RAY_TRAIN_V2_ENABLED": "1",
    # Seconds that a group of workers may take to start; Ray's own 60 are few where images and disks are slow.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
    # An actor that warns workers of nodes that will be taken away; ours have nothing to do then.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


def main() -> int:
    """Returns 0 if the run succeeded, 1 if it did not; the reason is in the last event."""
    arguments = _arguments()
    if sys.platform == "linux" and not os.environ.get("RAY_ADDRESS"):
        # Should whoever started us be killed outright, Ray's processes must not go on without anyone to stop them. In a
        # cluster Ray's job manager sees to that, and the parent whose end would be told here is a mere thread of it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    for name, value in _RAY_TRAIN.items():
        os.environ.setdefault(name, value)
    settle_threads()
    os.environ.update(growing(os.environ))
    text = arguments.run.read_bytes()
    run, check = Run.model_validate_json(text), partial(_refuse_replaced, text, arguments.sha256)
    with os.fdopen(arguments.events, "w", encoding="utf-8") as stream, ExitStack() as reporting:
        reporters = [reporting.enter_context(reporter) for reporter in _reporters(run, arguments.service_account)]
        listener = LastProgress(JsonLinesListener(stream, texts=run.report_to is None), *reporters)
        status = _run(run, listener, arguments.cache, reporters, check)
        listener.finished(status)
    return 0 if status.phase == "Succeeded" else 1


def _reporters(run: Run, service_account: Path) -> list[StatusReporter]:
    if run.report_to is None:
        return []
    return [StatusReporter(run.attempt, ConfigMap.from_environment(run.report_to, service_account).write)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kubetune_trainer", description=__doc__)
    parser.add_argument("run", type=Path, help="a file with the run, as JSON")
    parser.add_argument("--sha256", help="the digest of that file; with another one nothing is trained")
    parser.add_argument("--events", type=int, default=1, help="the file descriptor for the events (default: 1)")
    account = "the folder with the token and the certificate for the API server"
    parser.add_argument("--service-account", type=Path, default=SERVICE_ACCOUNT, help=account)
    parser.add_argument("--cache", type=Path, help="a folder for fetched models and data")
    return parser.parse_args()


def _refuse_replaced(text: bytes, digest: str | None) -> None:
    """Whoever may write ConfigMaps in a namespace may put another one in the place of the run."""
    if digest not in (None, hashlib.sha256(text).hexdigest()):
        raise RunError(
            Reason.UNKNOWN,
            "the run is not the one that the operator made: somebody replaced its ConfigMap, so nothing was trained;"
            " see who may write ConfigMaps in the namespace (`kubectl get rolebindings`). The next attempt gets a new"
            " one.",
        )


def _run(
    run: Run, listener: LastProgress, cache: Path | None, reporters: list[StatusReporter], check: Callable[[], None]
) -> FineTuneJobStatus:
    start_time, stop = _now(), StopRequest()
    failed = _failure_of(run, listener, start_time)

    def at_once() -> NoReturn:
        # Whoever ends us waits for some seconds only, and Ray may need them to end its own.
        for reporter in reporters:
            reporter.finished(failed(Reason.INTERRUPTED, INTERRUPTED))
        sys.exit(1)

    signal.signal(signal.SIGTERM, lambda *_: stop.by_signal() or at_once())
    try:
        check()
        # Imported here: torch and Ray take seconds, and an error in them must reach the user as an event too.
        with uncollected():
            from kubetune_trainer.driver import execute

        cache, give_up = usable_folders(cache), _giving_up(listener, reporters, failed)
        published = execute(
            run, listener=listener, cache=cache, start_time=start_time, now=_now, give_up=give_up, stop=stop
        )
    except RunError as error:
        return failed(error.reason, error.message)
    except OSError as error:
        return failed(*_explain(error))
    except SystemExit:
        return failed(Reason.INTERRUPTED, INTERRUPTED)
    except Exception as error:  # whatever it was, the user gets a status
        return failed(Reason.UNKNOWN, f"{type(error).__name__}: {error}")
    finally:
        # All that is left is to tell the end.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return published.status(listener.last, listener.last_data, listener.last_checkpoint)


def _failure_of(run: Run, listener: LastProgress, start_time: str) -> Failed:
    hidden = _hidden_for(run)

    def failed(reason: str, message: str) -> FineTuneJobStatus:
        if reason == Reason.UNKNOWN:
            # The others say in a sentence what to do; of this one the log has the whole.
            print(hidden(traceback.format_exc()), end="", file=sys.stderr)
        ending = listener.ending(run.run_id, start_time, _now())
        return ending.failed(reason, RunError(reason, hidden(message)).message)

    return failed


def _giving_up(
    listener: LastProgress, reporters: list[StatusReporter], failed: Failed
) -> Callable[[RunError], NoReturn]:
    """Tells the end of the run and ends this process at once, from any thread: another one never returns."""

    def give_up(error: RunError) -> NoReturn:
        listener.finished(failed(error.reason, error.message))
        for reporter in reporters:
            reporter.close()
        os._exit(1)

    return give_up


def _hidden_for(run: Run) -> Callable[[str], str]:
    """Takes the run's secrets out of the words of libraries and servers, which may repeat what they were sent."""
    return partial(StoreCredentials.of(run).hidden, said=run.model_dump_json())


def _explain(error: OSError) -> tuple[str, str]:
    if storage_is_full(error):
        where = error.filename or "a temporary file"
        return Reason.STORAGE_FAILED, (
            f"the disk is full ({where}); free some space, or set TMPDIR to a folder on a larger disk"
        )
    return Reason.UNKNOWN, f"{type(error).__name__}: {error}"


def _now() -> str:
    return timestamp(datetime.now(UTC))


if __name__ == "__main__":
    sys.exit(main())
