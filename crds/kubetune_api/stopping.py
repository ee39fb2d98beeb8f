"""How a pod that is about to end lets the run in it save first: files in a folder of the pod's own.

Kubernetes calls the pod's preStop hook, and sends SIGTERM only after it. The hook says in the folder that the pod ends,
and waits for the processes of the run that have put their ids there: they look between two steps, save, and end.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

STOP_FOLDER = "/tmp/kubetune-stop"  # noqa: S108 - a volume of the pod's own
STOP_VARIABLE = "KUBETUNE_STOP_FOLDER"
"""The environment of a pod names the folder by it. Unset, nobody looks: another user's file must not end a run."""
_ASKED, _PROCESSES = "asked", "processes"


def stop_hook(seconds: int, folder: str = STOP_FOLDER) -> list[str]:
    """The command of a preStop hook: returns when the run's processes in the pod have ended, or after so long.

    At once where none is there. A process that was killed is not waited for.
    """
    script = f"""\
mkdir -p '{folder}' && cd '{folder}' && : > {_ASKED} || exit 0
left={seconds}
while [ "$left" -gt 0 ]; do
  lives=
  for process in {_PROCESSES}/*; do [ -d "/proc/${{process##*/}}" ] && lives=1; done
  [ "$lives" ] || exit 0
  sleep 1
  left=$((left - 1))
done
"""
    return ["sh", "-c", script]


@dataclass(frozen=True)
class StopSign:
    """Where a process sees that its pod ends; without a folder it never does."""

    folder: Path | None = None

    @classmethod
    def of_this_pod(cls, environment: Mapping[str, str] | None = None) -> Self:
        """By the environment, that of this process unless another is given."""
        folder = (os.environ if environment is None else environment).get(STOP_VARIABLE)
        return cls(Path(folder) if folder else None)

    def awaits_this_process(self) -> None:
        """From now on the pod's end waits for this process to end, within the hook's limit."""
        if self.folder is None:
            return
        # Where nothing can be written, the pod ends as one without a run does.
        with suppress(OSError):
            processes = self.folder / _PROCESSES
            processes.mkdir(parents=True, exist_ok=True)
            (processes / str(os.getpid())).touch()

    @property
    def is_up(self) -> bool:
        """Whether the pod ends."""
        return self.folder is not None and (self.folder / _ASKED).exists()
