"""What an attempt that ran out of memory leaves to the next one: half of its micro-batch. Pure.

The global batch stays, and with it the result: only more passes make up a step. Where the rows of a micro-batch are
compared with each other that is not so, and nothing is made smaller. Nor is it after an attempt with fewer workers than
the job asks for: each had more of the model, and of all workers nothing is known.
"""

from dataclasses import replace
from math import ceil

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.reasons import Reason
from kubetune_api.status import Attempt
from kubetune_operator.jobs.failures import head_had_no_memory
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.resolve import Resolved


def with_what_it_took(seen: Observed, attempt: Attempt, reason: str) -> Attempt:
    """An attempt that ends for this reason, with the micro-batch that it took where it ran out of memory.

    None where its trainer had not come so far, or where the head ran out of memory: it takes no rows.
    """
    if reason != Reason.OUT_OF_MEMORY or attempt.workers is not None:
        return attempt
    report = seen.report_of(attempt.number)
    told = report.resolved if report else None
    took = None if told is None or head_had_no_memory(attempt.evidence) else told.micro_batch_size
    if took is not None and told is not None:
        # A worker never takes more than its share of a global batch, nor more than it was told, whatever it reports.
        share = ceil(seen.job.job.spec.resolved.training.global_batch_size / (told.workers or 1))
        took = min(took, share, attempt.micro_batch_size or took)
    return attempt.model_copy(update={"micro_batch_size": took})


def may_be_smaller(spec: FineTuneJobSpec, ended: Attempt) -> bool:
    """Whether the attempt after one that ran out of memory can take a smaller micro-batch."""
    return (ended.micro_batch_size or 1) > 1 and ended.workers is None and not spec.task_row.compares_rows


def most_after(last: Attempt | None) -> int | None:
    """The largest micro-batch that the attempt after the last one may take; None where nothing holds it back."""
    if last is None or last.micro_batch_size is None:
        return None
    return max(1, last.micro_batch_size // 2) if was_too_large(last) else last.micro_batch_size


def was_too_large(attempt: Attempt) -> bool:
    """Whether the attempt's micro-batch is what it ran out of memory for, as far as anybody can tell."""
    return attempt.reason == Reason.OUT_OF_MEMORY and attempt.workers is None


def held_to(resolved: Resolved, attempt: Attempt) -> Resolved:
    """What the attempt runs: no larger micro-batch than it may take, whoever chose it."""
    most, job = attempt.micro_batch_size, resolved.job
    if most is None:
        return resolved
    chosen = job.spec.training.micro_batch_size
    training = job.spec.training.model_copy(update={"micro_batch_size": min(chosen or most, most)})
    return replace(resolved, job=job.model_copy(update={"spec": job.spec.model_copy(update={"training": training})}))
