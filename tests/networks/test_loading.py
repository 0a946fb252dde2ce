from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from brainspade_cli.bundle_config import NetworkConfigs
from brainspade_cli.errors import WeightsError
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.networks.label_denoiser import LabelDenoiser
from brainspade_cli.networks.loading import load_network
from brainspade_cli.networks.spade_generator import SpadeGenerator
from brainspade_cli.networks.style_encoder import StyleEncoder
from brainspade_cli.presets import preset

SIZES = NetworkConfigs(**{entry.name: getattr(preset("tiny"), entry.name) for entry in fields(NetworkConfigs)})
FILE = Path("some.safetensors")
NETWORKS = {
    "label_autoencoder": lambda: LabelAutoencoder(SIZES.autoencoder),
    "denoiser_tumour": lambda: LabelDenoiser(SIZES.denoiser),
    "style_encoder": lambda: StyleEncoder(SIZES.style_encoder),
    "spade_generator": lambda: SpadeGenerator(SIZES.generator),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_loaded_as_it_was_built_and_draws_nothing(name):
    torch.manual_seed(3)
    built = NETWORKS[name]()
    before = torch.random.get_rng_state()
    loaded = load_network(name, SIZES, built.state_dict(), FILE)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert dict(loaded.named_buffers()).keys() == dict(built.named_buffers()).keys()
    assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
    after = loaded.state_dict()
    for key, tensor in built.state_dict().items():
        assert torch.equal(after[key], tensor), key


def test_a_painter_trains_on_from_what_was_loaded():
    """Spectral norm goes on with the vectors of the file."""
    torch.manual_seed(3)
    built = SpadeGenerator(SIZES.generator)
    tensors = {key: value.clone() for key, value in built.state_dict().items()}
    loaded = load_network("spade_generator", SIZES, tensors, FILE)
    maps, style = torch.rand(2, 8, 32, 32), torch.rand(2, SIZES.generator.style_dim)
    for network in (built, loaded):
        network.train()
        network(maps, style).square().mean().backward()
    for (name, ours), theirs in zip(loaded.named_parameters(), built.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad), name


def test_sizes_that_no_memory_holds_are_refused_by_the_shapes_of_the_file():
    tensors = StyleEncoder(SIZES.style_encoder).state_dict()
    huge = replace(SIZES, style_encoder=replace(SIZES.style_encoder, widths=(10**6, 10**6)))
    with pytest.raises(WeightsError, match=r"some\.safetensors"):
        load_network("style_encoder", huge, tensors, FILE)
