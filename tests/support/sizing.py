"""How many workers a model needs, as the planner works it out: the page on profiles shows it."""

from kubetune_api.job import FineTuneJob
from kubetune_planner.catalogue import shape_of
from kubetune_planner.plan import MAX_WORKERS, AcceleratorSpec, TrainingPlan, plan
from support.job_cases import CAUSAL, edited

MEMORIES = (24, 40, 80)
"""GiB."""


def fewest_workers(model: str, gib: int, max_length: int) -> str:
    """The fewest of 1, 2, 4, 8, … workers on which all weights of a language model are trained, and the stage."""
    job = FineTuneJob.model_validate(edited({**CAUSAL, "spec.task.maxLength": max_length}))
    shape = shape_of(f"hf://{model}")
    assert shape is not None
    accelerator = AcceleratorSpec("one", gib << 30, has_bf16=True)
    workers = 1
    while workers <= MAX_WORKERS:
        planned = plan(job.spec, shape, accelerator, workers)
        if isinstance(planned, TrainingPlan):
            return f"{workers} (stage {planned.stage})"
        workers *= 2
    return "–"
