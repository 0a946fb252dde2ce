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
BATCH_NORM = replace(SIZES.generator, norm="batch")
NETWORKS = {
    "label_autoencoder": (SIZES, lambda: LabelAutoencoder(SIZES.autoencoder)),
    "denoiser_tumour": (SIZES, lambda: LabelDenoiser(SIZES.denoiser)),
    "style_encoder": (SIZES, lambda: StyleEncoder(SIZES.style_encoder)),
    "spade_generator": (SIZES, lambda: SpadeGenerator(SIZES.generator)),
    "spade_generator, batch norm": (replace(SIZES, generator=BATCH_NORM), lambda: SpadeGenerator(BATCH_NORM)),
}
INPUTS = {
    "label_autoencoder": (torch.ones(1, 8, 32, 32),),
    "denoiser_tumour": (torch.ones(1, 3, 48, 64), torch.tensor([5]), torch.ones(1, 3)),
    "style_encoder": (torch.ones(1, 1, 192, 256),),
    "spade_generator": (torch.ones(1, 8, 32, 32), torch.ones(1, SIZES.generator.style_dim)),
}


@pytest.mark.parametrize("case", NETWORKS)
@torch.no_grad()
def test_a_network_is_loaded_as_it_was_built_and_draws_nothing(case):
    torch.manual_seed(3)
    (sizes, build), name = NETWORKS[case], case.split(",")[0]
    built = build().eval()
    tensors = {key: value.clone() for key, value in built.state_dict().items()}
    before = torch.random.get_rng_state()
    loaded = load_network(name, sizes, tensors, FILE).eval()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert dict(loaded.named_buffers()).keys() == dict(built.named_buffers()).keys()
    ours, theirs = (network(*INPUTS[name]) for network in (loaded, built))
    torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


def test_counts_of_another_type_are_refused():
    tensors = SpadeGenerator(BATCH_NORM).state_dict()
    for key in [key for key in tensors if key.endswith("num_batches_tracked")]:
        tensors[key] = tensors[key].to(torch.uint8)
    with pytest.raises(WeightsError, match="uint8"):
        load_network("spade_generator", replace(SIZES, generator=BATCH_NORM), tensors, FILE)


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
