"""Under which name each tensor of a model stands in the pretrained files.

The verification compares the trained tensors with the pretrained ones by these names, so a gap is found before the
training and not after it.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from safetensors import safe_open
from transformers import PreTrainedModel

from kubetune_api.families import Family
from kubetune_trainer.errors import invalid_model

# Older checkpoints of BERT call the parts of a norm so; transformers renames them as it loads.
_OLD_NAMES = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}


def base_names(model: PreTrainedModel, family: Family, folder: Path, new: Collection[str]) -> dict[str, str]:
    """The name in the files of `folder` for each tensor of `model` that is not among the `new` ones.

    Tied tensors share one name; one that was joined from several has none. RunError where a parameter came from the
    files, but under no name known here.
    """
    there: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as tensors:
            there.update(tensors.keys())
    found = {}
    for name in model.state_dict():
        known = [
            candidate for candidate in _candidates(name, f"{model.base_model_prefix}.", family) if candidate in there
        ]
        if known and name not in new:
            found[name] = known[0]
    for one, other in model.all_tied_weights_keys.items():
        if one in found or other in found:
            found |= {one: found.get(one, found.get(other, "")), other: found.get(other, found.get(one, ""))}
    nameless = [name for name, _ in model.named_parameters() if name not in found and name not in new]
    _refuse_gaps([name for name in nameless if not name.endswith(family.joined)])
    return found


def _candidates(name: str, prefix: str, family: Family) -> Iterator[str]:
    for plain in (name, name.removeprefix(prefix), prefix + name):
        yield plain
        for part, old in _OLD_NAMES.items():
            if plain.endswith(part):
                yield plain.removesuffix(part) + old
        for part, published in family.published_names.items():
            if part in plain:
                yield plain.replace(part, published)


def _refuse_gaps(names: list[str]) -> None:
    if names:
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise invalid_model(
            f"spec.model.uri: the files hold weights under names that cannot be matched ({shown}); load the model with"
            " transformers and save it again with save_original_format=False"
        )
