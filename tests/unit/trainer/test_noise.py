"""NEFTune's noise on the embeddings."""

from math import sqrt

import pytest
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


@pytest.mark.parametrize("family", ["t5", "bart", "pegasus"])
def test_of_an_encoder_with_a_decoder_noise_changes_what_both_read_while_it_trains_and_only_then(family: str) -> None:
    model, tokens = tiny_model(family, labels=None), torch.arange(4, 24).reshape(2, 10)
    read: dict[str, set[float]] = {}
    add_noise(model, 5.0)
    for name, stack in (("encoder", model.get_encoder()), ("decoder", model.get_decoder())):
        stack.get_input_embeddings().register_forward_hook(
            lambda _, __, output, name=name: read[name].add(float(output.double().sum()))
        )
    losses = {}
    for mode in (True, False):
        read.update(encoder=set(), decoder=set())
        with torch.no_grad():
            losses[mode] = {float(model.train(mode)(input_ids=tokens, labels=tokens).loss) for _ in range(3)}
        assert {name: len(found) for name, found in read.items()} == dict.fromkeys(read, 3 if mode else 1)
    assert (len(losses[True]), len(losses[False])) == (3, 1)
