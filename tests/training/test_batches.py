"""What batches are drawn from: the training split alone, in the paper's mix; deformations keep PV maps valid."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainspade_cli.anatomy import BACKGROUND, CHANNELS, TUMOUR
from brainspade_cli.errors import SliceSetError
from brainspade_cli.geometry import MIN_TUMOUR_PIXELS, SLICE_SHAPE
from brainspade_cli.slices import BACKGROUND_VALUE, SliceSet, open_slice_set
from brainspade_cli.training.batches import draw_rows, image_table, label_table, label_table_of_all
from brainspade_cli.training.deform import draw_affine, mirror, warp, warp_maps


@pytest.fixture(scope="module")
def slice_set(slice_folder: Path) -> SliceSet:
    return open_slice_set(slice_folder)


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_tables_hold_training_people_alone(slice_set: SliceSet) -> None:
    held_out = set(slice_set.people("held-out"))
    assert held_out
    tables = (label_table_of_all(slice_set, 2 / 3), label_table(slice_set, "tumour", 2 / 3), image_table(slice_set))
    for table in tables:
        people = {record.person for record in table.records}
        assert people
        assert not people & held_out


def test_tumour_draws_are_two_thirds_tumour(slice_set: SliceSet) -> None:
    table = label_table(slice_set, "tumour", 2 / 3)
    rows = table.draw(3000, seeded())
    pixels = torch.tensor([table.records[table.scans[row]].tumour_pixels[table.slices[row]] for row in rows.tolist()])
    assert bool(((pixels == 0) | (pixels >= MIN_TUMOUR_PIXELS)).all())
    assert (pixels > 0).float().mean().item() == pytest.approx(2 / 3, abs=0.04)
    assert torch.equal(table.conditions[rows, 1] > 0.5, pixels >= MIN_TUMOUR_PIXELS)


def test_healthy_draws_are_uniform_and_have_no_lesion(slice_set: SliceSet) -> None:
    table = label_table(slice_set, "healthy", 2 / 3)
    counts = Counter(table.draw(6000, seeded()).tolist())
    assert set(counts) == set(range(len(table)))
    assert max(counts.values()) < 2 * min(counts.values())
    assert not table.conditions[:, 1:].any()


def test_both_populations_are_drawn_half_and_half(slice_set: SliceSet) -> None:
    table = label_table_of_all(slice_set, 2 / 3)
    drawn = table.draw(2000, seeded())
    tumour = [table.records[table.scans[row]].population == "tumour" for row in drawn.tolist()]
    assert sum(tumour) / len(tumour) == pytest.approx(0.5, abs=0.05)


def test_a_population_that_is_not_there_is_named(slice_set: SliceSet) -> None:
    healthy = SliceSet(slice_set.folder, slice_set.select(population="healthy"))
    with pytest.raises(SliceSetError, match="tumour"):
        label_table(healthy, "tumour", 2 / 3)
    assert len(label_table_of_all(healthy, 2 / 3)) == len(label_table(healthy, "healthy", 2 / 3))


def test_maps_are_those_on_disk(slice_set: SliceSet) -> None:
    table = label_table(slice_set, "tumour", 2 / 3)
    maps = table.maps(torch.tensor([7, 2]))
    stored = slice_set.labels(table.records[table.scans[7]])[table.slices[7]]
    assert maps.shape == (2, CHANNELS, *SLICE_SHAPE)
    assert torch.equal(maps[0], torch.tensor(stored) / 255)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(2, *SLICE_SHAPE))


def test_style_slices_are_other_slices_of_the_same_volume(slice_set: SliceSet) -> None:
    table = image_table(slice_set)
    rows = draw_rows(table.labelled, 500, seeded())
    for unit in (torch.rand(500, generator=seeded(1)), torch.zeros(500), torch.full((500,), 1 - 1e-7)):
        others = table.other_slices(rows, unit)
        assert (table.volumes[others.numpy()] == table.volumes[rows.numpy()]).all()
        assert (others != rows).all()
    reached = set(table.other_slices(torch.zeros(500, dtype=torch.long), torch.rand(500, generator=seeded(2))).tolist())
    assert reached == set(range(1, table.records[0].slices))


def test_image_draws_are_balanced_over_modalities_and_datasets(slice_set: SliceSet) -> None:
    table = image_table(slice_set)
    assert table.modalities == ("t1", "flair")
    assert table.datasets == ("lesions", "rings")
    modality, dataset = table.targets(draw_rows(table.groups, 4000, seeded()))
    shares = Counter(zip(modality.tolist(), dataset.tolist(), strict=True))
    assert shares[1, 0] / 4000 == pytest.approx(0.5, abs=0.04)
    assert shares[0, 0] / 4000 == pytest.approx(0.25, abs=0.04)
    assert shares[0, 1] / 4000 == pytest.approx(0.25, abs=0.04)


def test_scans_without_labels_are_never_content(slice_set: SliceSet) -> None:
    bare = tuple(replace(scan, has_labels=scan.population == "tumour") for scan in slice_set.scans)
    table = image_table(SliceSet(slice_set.folder, bare))
    content = draw_rows(table.labelled, 400, seeded())
    assert all(table.records[table.volumes[row]].has_labels for row in content.tolist())
    every = draw_rows(table.groups, 400, seeded())
    assert any(not table.records[table.volumes[row]].has_labels for row in every.tolist())


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.floats(0, 0.3), st.floats(0, 45), st.floats(0, 30))
def test_deformed_maps_are_still_maps(number: int, scale: float, degrees: float, shift: float) -> None:
    maps = torch.rand(2, CHANNELS, 24, 32, generator=seeded(number)).softmax(dim=1)
    drawn = draw_affine(2, seeded(number), scale=scale, degrees=degrees, shift=shift, flip=True)
    warped = warp_maps(maps, drawn)
    assert warped.min() >= 0
    torch.testing.assert_close(warped.sum(dim=1), torch.ones(2, 24, 32))


def test_what_comes_in_from_outside_is_background() -> None:
    maps = torch.zeros(1, CHANNELS, 24, 32)
    maps[:, TUMOUR] = 1
    shifted = warp_maps(maps, torch.tensor([[0.0, 0.0, 6.0, 0.0, 1.0]]))
    assert shifted[0, BACKGROUND, -6:].min() > 0.99
    assert shifted[0, TUMOUR, :-6].min() > 0.99


def test_a_drawn_flip_mirrors_the_first_image_axis() -> None:
    image = torch.rand(1, 1, 24, 32, generator=seeded())
    flipped = warp(image, torch.tensor([[0.0, 0.0, 0.0, 0.0, -1.0]]))
    torch.testing.assert_close(flipped, image.flip(-2), atol=1e-4, rtol=0)
    assert torch.equal(mirror(image, torch.tensor([True])), image.flip(-2))
    assert torch.equal(mirror(image, torch.tensor([False])), image)


def test_deformations_are_in_pixels_and_degrees() -> None:
    """A dot 40 pixels from the centre goes where a turn by 90 degrees, a shift and a doubling take it."""
    image = torch.zeros(1, 1, 97, 129)
    image[0, 0, 48 + 20, 64] = 1
    turned = warp(image, torch.tensor([[0.0, torch.pi / 2, 0.0, 0.0, 1.0]]))[0, 0]
    place = divmod(int(turned.argmax()), 129)
    assert place[0] == 48
    assert abs(place[1] - 64) == 20
    moved = warp(image, torch.tensor([[0.0, 0.0, 3.0, 0.0, 1.0]]))[0, 0]
    assert divmod(int(moved.argmax()), 129) == (48 + 17, 64)
    larger = warp(image, torch.tensor([[float(torch.tensor(2.0).log()), 0.0, 0.0, 0.0, 1.0]]))[0, 0]
    assert divmod(int(larger.argmax()), 129) == (48 + 40, 64)


def test_images_are_z_scored_with_a_constant_background(slice_set: SliceSet) -> None:
    table = image_table(slice_set)
    image = table.read(torch.tensor([0, 9]))
    assert image.shape == (2, 1, *SLICE_SHAPE)
    assert (image == BACKGROUND_VALUE).float().mean() > 0.3
