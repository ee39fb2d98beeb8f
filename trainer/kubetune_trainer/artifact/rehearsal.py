"""The end of a run, tried before its training: what could not be saved or opened again is refused while that is cheap.

The model has no numbers here (torch's meta device), so that this takes seconds and next to no memory.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.artifact.reopen import opening_errors
from kubetune_trainer.errors import invalid_model, is_out_of_memory, storage_is_full
from kubetune_trainer.methods import TrainingMethod, method_of
from kubetune_trainer.model.load import LoadedModel, load_model
from kubetune_trainer.model.task import ModelTask


def rehearse(base: Path, spec: FineTuneJobSpec, task: ModelTask, space: Any, tokenizer: Any) -> tuple[str, ...]:
    """Loads the model in the folder `base` as the workers will, saves all but the weights, and opens that again.

    Returns what is changed in what the model brings, in sentences. RunError (INVALID_MODEL) for what would end the run
    after its training.
    """
    loaded = load_model(base, spec, task, space, tokenizer, numbers=False)
    errors = rehearsal_errors(loaded, method_of(spec.method), task.model_class(), tokenizer)
    if errors:
        raise invalid_model(
            f"spec.model.uri: the trained model could not be published: {'; '.join(errors)}; correct the model's"
            " configuration"
        )
    return loaded.notes


def rehearsal_errors(loaded: LoadedModel, method: TrainingMethod, model_class: Any, tokenizer: Any) -> list[str]:
    """Why what the method makes of a model without numbers could not be published, which is of no use afterwards."""
    method.refuse_misfit(loaded)
    with TemporaryDirectory(prefix="kubetune-") as scratch:
        folder = Path(scratch)
        if errors := _save(loaded, tokenizer, folder):
            return errors
        try:
            shapes = method.rehearse(loaded, folder)
        except (LookupError, TypeError, ValueError) as error:  # what peft raises over a model
            return [f"nothing can be trained beside it ({' '.join(str(error).split())})"]
        opening = opening_errors(folder, shapes, model_class)
        return [f"what is saved does not open again: {error}" for error in opening]


def _save(loaded: LoadedModel, tokenizer: Any, folder: Path) -> list[str]:
    steps: dict[str, Callable[[], Any]] = {
        "config.json or generation_config.json": partial(loaded.save, folder, {}),
        "the tokenizer": partial(tokenizer.save_pretrained, folder),
    }
    errors = []
    for what, save in steps.items():
        try:
            save()
        except Exception as error:  # whatever transformers holds against it
            if storage_is_full(error) or is_out_of_memory(error):
                raise
            errors.append(f"{what} cannot be saved ({' '.join(str(error).split()) or type(error).__name__})")
    return errors
