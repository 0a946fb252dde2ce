"""Modality and dataset discriminator (paper A.1): a DenseNet trained on real images, frozen to guide the painter."""

from __future__ import annotations

from monai.networks.nets.densenet import DenseNet
from torch import Tensor, nn
from torch.nn import functional as F

from brainspade_cli.networks.configs import ClassifierConfig


class ModalityClassifier(nn.Module):
    """DenseNet features, averaged over the image, into two linear heads. The paper's sizes make it DenseNet-121."""

    def __init__(self, config: ClassifierConfig, modalities: int, datasets: int) -> None:
        super().__init__()
        backbone = DenseNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            init_features=config.init_features,
            growth_rate=config.growth_rate,
            block_config=config.blocks,
            dropout_prob=config.dropout,
        )
        self.backbone = backbone.features
        width = config.init_features
        for index, layers in enumerate(config.blocks):
            width += layers * config.growth_rate
            if index < len(config.blocks) - 1:
                width //= 2
        self.dropout = nn.Dropout(config.dropout)
        self.modality = nn.Linear(width, modalities)
        self.dataset = nn.Linear(width, datasets)

    def stages(self) -> list[nn.Sequential]:
        """Cut the backbone into stages that end with the stem and with every dense block, fine to coarse."""
        stages: list[nn.Sequential] = []
        layers: list[nn.Module] = []
        for name, layer in self.backbone.named_children():
            layers.append(layer)
            if name == "relu0" or name.startswith("denseblock"):
                stages.append(nn.Sequential(*layers))
                layers = []
        return stages

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, modalities) and (B, datasets) for images (B, 1, H, W), z-scored, background -4."""
        pooled = self.dropout(F.relu(self.backbone(image)).mean(dim=(2, 3)))
        return self.modality(pooled), self.dataset(pooled)
