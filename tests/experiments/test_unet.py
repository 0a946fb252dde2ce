import numpy as np
import torch
import unet
from unet import NOT_COUNTED, normalised, segmentation_loss

from brainspade_cli.slices import BACKGROUND_VALUE
from tests.sampling.parts import ellipse_label


def test_slices_are_z_scored_over_the_brain_whatever_their_units():
    rng = np.random.default_rng(0)
    brain = ellipse_label() > 0
    stored = np.where(brain, rng.integers(100, 900, brain.shape), 0).astype(np.int16)
    scored = normalised(stored)
    assert (scored[~brain] == BACKGROUND_VALUE).all()
    assert abs(scored[brain].mean()) < 1e-4
    assert abs(scored[brain].std() - 1) < 1e-4
    assert np.allclose(normalised(stored * np.int16(3) + np.where(brain, np.int16(7), np.int16(0))), scored, atol=1e-4)
    assert (normalised(np.zeros((4, 4), np.int16)) == BACKGROUND_VALUE).all()


def test_the_loss_is_least_where_the_answer_is_right_and_blind_to_what_does_not_count():
    target = torch.from_numpy(ellipse_label()[None, 40:140, 60:190].astype(np.int64))
    right = 20 * torch.nn.functional.one_hot(target, 4).movedim(-1, 1).float()
    assert segmentation_loss(right, target) < 0.01
    wrong = right.clone()
    wrong[:, :, :50] = wrong[:, [1, 0, 2, 3], :50]
    assert segmentation_loss(wrong, target) > 0.5
    blind = target.clone()
    blind[:, :50] = NOT_COUNTED
    assert segmentation_loss(wrong, blind) < 0.01


def test_crops_move_image_and_label_alike():
    label = ellipse_label()
    image = np.where(label > 0, label.astype(np.float32), BACKGROUND_VALUE)
    images = torch.from_numpy(np.stack([image] * 6)[:, None])
    targets = torch.from_numpy(np.stack([label.astype(np.int8)] * 6))
    moved, labels = unet._crops(images, targets, 96, np.random.default_rng(0))
    assert moved.shape == (6, 1, 96, 96)
    assert labels.shape == (6, 96, 96)
    # Linear and nearest interpolation differ at borders only.
    same = (moved[:, 0].round() == torch.where(labels > 0, labels.float(), BACKGROUND_VALUE)).float().mean()
    assert same > 0.85
    assert len({float(part.sum()) for part in moved}) == 6


def test_crops_without_turning_are_cut_outs(monkeypatch):
    monkeypatch.setattr(unet, "ROTATION", 0.0)
    monkeypatch.setattr(unet, "SCALING", (1.0, 1.0))
    monkeypatch.setattr(unet, "_middle", lambda image, target, rng: np.array([100, 130]))
    rng = np.random.default_rng(0)
    image = rng.normal(size=(192, 256)).astype(np.float32)
    target = rng.integers(0, 4, (192, 256)).astype(np.int8)
    moved, labels = unet._crops(
        torch.from_numpy(np.stack([image] * 8)[:, None]), torch.from_numpy(np.stack([target] * 8)), 33, rng
    )
    cut, cut_label = image[84:117, 114:147], target[84:117, 114:147]
    kept = [np.allclose(part, cut, atol=1e-3) for part in moved[:, 0].numpy()]
    for part, label, straight in zip(moved[:, 0].numpy(), labels.numpy(), kept, strict=True):
        assert np.allclose(part, cut if straight else cut[::-1], atol=1e-3)
        assert np.array_equal(label, cut_label if straight else cut_label[::-1])
    assert 0 < sum(kept) < 8


def test_shading_leaves_the_background_alone():
    rng = np.random.default_rng(0)
    images = torch.full((4, 2, 16, 16), BACKGROUND_VALUE)
    images[:, :, 4:12, 4:12] = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    shaded = unet._shaded(images, rng, torch.Generator().manual_seed(0))
    outside = images == BACKGROUND_VALUE
    assert (shaded[outside] == BACKGROUND_VALUE).all()
    assert not torch.equal(shaded[~outside], images[~outside])
