"""The modality and dataset discriminator: two heads on one DenseNet, whose stages serve the perceptual loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from brainspade_cli.networks.modality_classifier import ModalityClassifier
from brainspade_cli.presets import preset


def build() -> ModalityClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModalityClassifier(preset("tiny").classifier, modalities=3, datasets=2)


def test_both_heads_answer():
    modality, dataset = build()(torch.zeros(2, 1, 192, 256))
    assert modality.shape == (2, 3)
    assert dataset.shape == (2, 2)


def test_paper_preset_is_densenet_121():
    with torch.device("meta"):
        network = ModalityClassifier(preset("paper").classifier, modalities=1, datasets=1)
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(6.95e6, rel=0.002)
    assert sum(isinstance(module, torch.nn.Conv2d) for module in network.modules()) == 120


@torch.no_grad()
def test_stages_make_up_the_backbone():
    network = build().eval()
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    features = image
    sizes = []
    for stage in network.stages():
        features = stage(features)
        sizes.append(features.shape[-1])
    assert sizes == [32, 16, 8]
    assert torch.allclose(network.backbone.norm5(features), network.backbone(image), atol=1e-6)


def test_heads_learn_their_own_question():
    """Contrast sign is the modality, noise level the dataset; both heads must tell after a few steps."""
    network = build()
    generator = torch.Generator().manual_seed(2)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)

    def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        modality = torch.randint(0, 2, (16,), generator=generator)
        dataset = torch.randint(0, 2, (16,), generator=generator)
        image = torch.zeros(16, 1, 32, 32)
        image[:, :, 8:24, 8:24] = (2.0 * modality - 1).view(-1, 1, 1, 1)
        noise = torch.randn(image.shape, generator=generator)
        return image + (0.05 + 0.6 * dataset).view(-1, 1, 1, 1) * noise, modality, dataset

    with torch.random.fork_rng():
        torch.manual_seed(3)
        for _ in range(60):
            image, modality, dataset = batch()
            modality_logits, dataset_logits = network(image)
            loss = F.cross_entropy(modality_logits, modality) + F.cross_entropy(dataset_logits, dataset)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    network.eval()
    right = torch.zeros(2)
    with torch.no_grad():
        for _ in range(4):
            image, *answers = batch()
            for head, (logits, answer) in enumerate(zip(network(image), answers, strict=True)):
                right[head] += (logits.argmax(dim=1) == answer).float().mean() / 4
    assert right[0] > 0.9
    assert right[1] > 0.9
