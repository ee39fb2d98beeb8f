"""NEFTune's noise on the embeddings."""

from math import sqrt

import torch

from kubetune_trainer.training.noise import add_noise
from support.tiny_models import tiny_model


def test_noise_is_uniform_within_its_reach_while_the_model_trains_and_only_then() -> None:
    model, tokens = tiny_model("llama", labels=None), torch.arange(40).reshape(2, 20)
    plain = model.get_input_embeddings()(tokens)
    add_noise(model, 5.0)
    embeddings = model.get_input_embeddings()
    model.train()
    torch.manual_seed(0)
    noise = embeddings(tokens) - plain
    reach = 5.0 / sqrt(20 * plain.shape[-1])
    assert 0.95 * reach < noise.abs().max() <= reach + 1e-6
    assert abs(noise.mean()) < 0.1 * reach
    model.eval()
    assert torch.equal(embeddings(tokens), plain)
