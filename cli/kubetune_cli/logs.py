"""`kubetune logs`: what a job's pods write; by default what the driver tells, which the submitter streams.

Followed logs outlast what happens to a job: a connection that breaks is taken up at the line where it broke, and when
a new attempt begins, its pod is followed next.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from kubetune_api.text import plural
from kubetune_cli.driver_log import DriverLog, RawLog
from kubetune_cli.jobs import (
    Cluster,
    Job,
    LogLine,
    NoSuchPodError,
    NothingToShowError,
    Pause,
    Pod,
    Tell,
    UnreachableError,
    find,
)

HEAD, WORKER, SUBMITTER = "head", "worker", "submitter"
Write = Callable[[str], None]
"""Takes one line of a log."""


@dataclass(frozen=True)
class Wanted:
    """Which log."""

    role: str = SUBMITTER
    or_head: bool = True
    """Whether the head's will do where no submitter is left."""
    worker: int = 0
    """Which of the worker pods, from 0 in the order of their creation."""
    attempt: int | None = None
    """None: the last."""
    tail: int | None = None
    """Only so many lines of what is there."""
    verbose: bool = False
    """Whether the lines of Ray and others are shown between those of the driver."""

    def choose(self, pods: Sequence[Pod]) -> Pod | None:
        """The pod of the attempt; the last one where the role has several."""
        attempt = self.attempt or max((pod.attempt for pod in pods), default=0)
        in_attempt = [pod for pod in pods if pod.attempt == attempt]
        found = [pod for pod in in_attempt if pod.role == self.role]
        if self.role == WORKER:
            return found[self.worker] if self.worker < len(found) else None
        if not found and self.or_head:
            found = [pod for pod in in_attempt if pod.role == HEAD]
        return found[-1] if found else None


@dataclass(frozen=True)
class Reader:
    """One reading of a job's logs."""

    cluster: Cluster
    wanted: Wanted
    write: Write
    tell: Tell
    pause: Pause

    def show(self, name: str) -> None:
        """Writes the log as it is now; NothingToShowError says why there is none."""
        job = find(self.cluster, name)
        pods = self.cluster.pods(job)
        pod = self.wanted.choose(pods)
        if pod is None:
            raise NothingToShowError(absence(job, pods, self.wanted))
        if not pod.has_log:
            raise NothingToShowError(f"{_title(pod)} has not started: {pod.waits_for}. -f waits for it.")
        self.tell(_title(pod))
        log = self._log_of(pod)
        try:
            self._write_what_is_there(pod, log, complete=pod.over)
        except NoSuchPodError:
            raise NothingToShowError(absence(job, [], self.wanted)) from None
        self._tell_what_is_left_out(log)

    def follow(self, name: str) -> None:
        """Writes the log as it grows, over all attempts that come, until the job ends."""
        job, read = find(self.cluster, name), dict[str, Pod]()
        while (pod := self._next(job, read)) is not None:
            self.tell(_title(pod))
            self._follow_pod(pod, job)
            read[pod.uid] = pod
        job = find(self.cluster, name)
        if not read:
            raise NothingToShowError(absence(job, self.cluster.pods(job), self.wanted))
        self.tell(f"{name}: {job.state}")

    def _next(self, job: Job, read: Mapping[str, Pod]) -> Pod | None:
        """The pod to read next, once it has something to say; None when the job has ended and left no other."""
        told = ""
        while isinstance(found := self._look(job, read), str):
            if found != told:
                self.tell(found)
            told = found
            self.pause()
        return found

    def _look(self, job: Job, read: Mapping[str, Pod]) -> Pod | str | None:
        """The next pod, or what it waits for, or None when there will be none."""
        try:
            # The job first: of one that has ended, no pod comes later than these.
            job = find(self.cluster, job.name)
            pods = self.cluster.pods(job)
        except UnreachableError as outage:
            return str(outage)
        over = self._is_over(job)
        earlier = max((pod.attempt for pod in read.values()), default=0)
        # While the run goes on, a submitter that is not there is one that comes.
        pod = replace(self.wanted, or_head=self.wanted.or_head and over).choose(pods)
        if pod is None or pod.uid in read or pod.attempt < earlier:
            return None if over else f"{job.name}: {job.state}"
        if pod.has_log:
            return pod
        return None if over else f"{_title(pod)} has not started: {pod.waits_for}"

    def _is_over(self, job: Job) -> bool:
        """Whether no further pod is to come."""
        attempts = {attempt.number: attempt for attempt in job.status.attempts}
        asked_for = attempts.get(self.wanted.attempt or 0)
        return job.ended or (asked_for is not None and asked_for.completion_time is not None)

    def _follow_pod(self, pod: Pod, job: Job) -> None:
        """Writes the log of a pod to its end, taking up a connection that breaks where it broke."""
        log, complete = self._log_of(pod), False
        while not complete:
            try:
                # Asked before: only what is read after the end is known to be all.
                over = all(found.over for found in self.cluster.pods(job) if found.uid == pod.uid)
                if self.wanted.tail is not None and not log.last:
                    self._write_what_is_there(pod, log)
                for line in self._newer(pod, log.last):
                    self._write_all(log.read(line))
                complete = over
            except NoSuchPodError:
                break
            except UnreachableError as outage:
                self.tell(str(outage))
            if not complete:
                self.pause()
        self._write_all(log.end())
        self._tell_what_is_left_out(log)

    def _log_of(self, pod: Pod) -> DriverLog | RawLog:
        return DriverLog(verbose=self.wanted.verbose) if pod.role == SUBMITTER else RawLog()

    def _write_what_is_there(self, pod: Pod, log: DriverLog | RawLog, *, complete: bool = False) -> None:
        """Writes the log as it is now, or the end that is wanted of it, counted in shown lines."""
        tail = self.wanted.tail
        lines = self.cluster.log(pod, tail=tail if isinstance(log, RawLog) else None)
        shown = chain((text for line in lines for text in log.read(line)), log.end() if complete else ())
        self._write_all(shown if tail is None else deque(shown, maxlen=tail))

    def _newer(self, pod: Pod, after: str) -> Iterator[LogLine]:
        """The lines of a pod that are newer than a time; without one, all."""
        for line in self.cluster.log(pod, follow=True, since=after):
            if not after or line.time > after:
                yield line

    def _write_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def _tell_what_is_left_out(self, log: DriverLog | RawLog) -> None:
        if log.left_out:
            self.tell(f"{plural(log.left_out, 'line')} of Ray and other libraries left out; --verbose shows them")


def absence(job: Job, pods: Sequence[Pod], wanted: Wanted) -> str:
    """Why there is no such log, and what is known in its place."""
    newest = max([pod.attempt for pod in pods] + [attempt.number for attempt in job.status.attempts], default=0)
    if newest == 0:
        return f"{job.name} has no attempt yet. {job.state}"
    number = wanted.attempt or newest
    there = [pod for pod in pods if pod.attempt == number]
    workers = sum(pod.role == WORKER for pod in there)
    if wanted.role == WORKER and workers:
        most = f"--worker 0 to {workers - 1}" if workers > 1 else "--worker 0"
        return f"Attempt {number} of {job.name} has no worker pod {wanted.worker}; give {most}."
    record = next((attempt for attempt in job.status.attempts if attempt.number == number), None)
    if record is None and not there:
        return f"{job.name} has no attempt {number}; the last one is {newest}."
    if record is None or record.completion_time is None:
        return f"Attempt {number} of {job.name} has no {wanted.role} pod now; -f waits for it. {job.state}"
    gone = f"its {wanted.role} pod is gone" if there else "its pods are gone"
    why = f"{record.reason or 'unknown'}: {(record.message or 'the cause is not known').rstrip('.')}"
    report = f"the report is at {job.status.artifact.report_uri}" if job.status.artifact else "there is no report"
    return f"Attempt {number} of {job.name} ended at {record.completion_time}: {why}; {gone}; {report}."


def _title(pod: Pod) -> str:
    return f"{pod.role} of attempt {pod.attempt}, pod {pod.name}"
