"""What trained parameters are before the first step, for those that verification cannot compare with a base."""

from collections.abc import Mapping

import torch
import torch.distributed as dist

from kubetune_planner.states import Precision
from kubetune_trainer.methods.base import STORED_AS
from kubetune_trainer.model.load import LoadedModel
from kubetune_trainer.model.stored import tensor_digest


def first_values(
    loaded: LoadedModel, parameters: Mapping[str, torch.nn.Parameter], precision: Precision
) -> dict[str, str]:
    """The digests of those that the pretrained model does not have, as they will be stored; on rank 0, none on the
    others."""
    # Only rank 0 says what is expected of the files. Without a group, this process is all that there is.
    if dist.is_initialized() and dist.get_rank() != 0:
        return {}
    return {
        name: tensor_digest(parameter.detach().to(STORED_AS[precision]))
        for name, parameter in parameters.items()
        if name not in loaded.base_names
    }
