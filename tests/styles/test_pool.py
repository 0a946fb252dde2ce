from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import pytest
import torch

from brainspade_cli.bundle import Bundle
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, ScanError, WeightsError
from brainspade_cli.styles.arguments import parse_styles
from brainspade_cli.styles.pool import StylePool, load_styles
from brainspade_cli.styles.scan import load_style
from tests.sampling.parts import flat_pool, quiet, style_scan, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects, of whom one has a T1 and a FLAIR and one a T1 alone."""
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate(("sub-1/t1.nii.gz", "sub-1/flair.nii.gz", "sub-2/t1.nii.gz")):
        style_scan(folder / name, seed)
    return folder


@pytest.fixture(scope="module")
def pool(bundle: Bundle, scans: Path) -> StylePool:
    return load_styles(bundle, parse_styles([str(scans)]), quiet())


def test_every_slice_of_every_scan_has_a_code(pool: StylePool) -> None:
    assert [(source.channel, source.name, source.subject) for source in pool.sources] == [
        ("t1", "t1.nii.gz", "sub-1"),
        ("t1", "t1.nii.gz", "sub-2"),
        ("flair", "flair.nii.gz", "sub-1"),
    ]
    for source in pool.sources:
        assert source.mean.shape == source.log_variance.shape == (len(source.slices), 8)
        assert len(source.sha256) == 64
        assert source.scale.mean > 1


def test_codes_do_not_depend_on_the_number_of_threads(bundle: Bundle, scans: Path, pool: StylePool) -> None:
    torch.set_num_threads(2)
    try:
        again = load_styles(bundle, parse_styles([str(scans)]), quiet())
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a.mean, b.mean) for a, b in zip(again.sources, pool.sources, strict=True))


def test_a_subject_with_both_channels_gives_both_at_one_height(pool: StylePool) -> None:
    paired = unpaired = 0
    for index in range(60):
        t1, flair = pool.draw(0, index)
        assert (t1.source.channel, flair.source.channel) == ("t1", "flair")
        if t1.source.subject == "sub-1":
            paired += 1
            assert abs(t1.slice_index / len(t1.source.mean) - flair.slice_index / len(flair.source.mean)) < 0.1
        else:
            unpaired += 1
    assert paired > 15
    assert unpaired > 15


def test_a_draw_is_a_function_of_seed_and_pair(pool: StylePool) -> None:
    assert torch.equal(pool.draw(4, 7)[0].code, pool.draw(4, 7)[0].code)
    assert not torch.equal(pool.draw(4, 7)[0].code, pool.draw(4, 8)[0].code)
    assert not torch.equal(pool.draw(4, 7)[0].code, pool.draw(5, 7)[0].code)


def test_codes_are_drawn_from_the_posterior() -> None:
    pool = flat_pool()
    drawn = [pool.draw(0, index)[0] for index in range(800)]
    noise = torch.stack([choice.code - choice.source.mean[choice.slice_index] for choice in drawn])
    assert noise.mean().abs() < 0.03
    assert noise.std() == pytest.approx(torch.tensor(-2.0).mul(0.5).exp().item(), rel=0.05)
    assert {choice.slice_index for choice in drawn} == {0, 1, 2, 3}


def test_a_bank_is_a_source_without_slices(bundle: Bundle) -> None:
    pool = load_styles(bundle, parse_styles(["@t2"]), quiet())
    assert pool.channels == ("t2",)
    assert pool.sources[0].slices is None
    assert pool.sources[0].mean.shape == (5, 8)
    assert pool.sources[0].scale.mean == 300
    with pytest.raises(WeightsError, match="no bank of styles for 'pd'"):
        load_styles(bundle, parse_styles(["@pd"]), quiet())


def test_one_of_many_that_cannot_be_read_is_left_out_by_name(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    style_scan(tmp_path / "a" / "t1.nii.gz")
    for name in ("b", "c\nc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t1.nii.gz").write_bytes(b"not an image")
    pool = load_styles(bundle, parse_styles([str(tmp_path)]), quiet())
    assert len(pool.sources) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path}/b/t1.nii.gz is" in said
    assert f"{tmp_path}/c\\nc/t1.nii.gz is" in said
    assert f"{tmp_path}/a/t1.nii.gz has thick slices" in said
    # What is put on record names no folder, which may be called after a patient.
    assert pool.notes
    assert str(tmp_path) not in " ".join(note.recorded for note in pool.notes)
    with pytest.raises(ScanError, match="not a NIfTI file"):
        load_styles(bundle, parse_styles([f"{tmp_path}/b/t1.nii.gz"]), quiet())
    with pytest.raises(InputError, match="No t1 scan can be used"):
        load_styles(bundle, parse_styles([f"{tmp_path}/b"]), quiet())


def test_people_who_lack_a_channel_are_told_of(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else's scan fills their pairs up."""
    for who, channels in (("sub-1", ("t1", "flair")), ("sub-2", ("t1",))):
        for channel in channels:
            style_scan(tmp_path / who / f"{channel}.nii.gz")
    pool = load_styles(bundle, parse_styles([str(tmp_path)]), Reporter())
    assert any(
        "Of 2 people whose scans give the style, 1 have none in some channel (t1, flair)" in note.text
        for note in pool.notes
    )
    assert "Styles: t1 of 2, flair of 1." in capsys.readouterr().err
    apart = [f"t1={tmp_path}/sub-2/t1.nii.gz", f"flair={tmp_path}/sub-1/flair.nii.gz"]
    assert not any("have none" in note.text for note in load_styles(bundle, parse_styles(apart), quiet()).notes)


def test_a_scan_says_how_bright_it_is_and_a_bank_does_not(bundle: Bundle, tmp_path: Path) -> None:
    scan = style_scan(tmp_path / "t1.nii.gz")
    sources = load_styles(bundle, parse_styles([str(scan), "@t2"]), quiet()).sources
    assert [source.brightest for source in sources] == [load_style(scan).brightest, math.inf]


@pytest.mark.parametrize(("factor", "said"), [(10.0, False), (0.001, True)])
def test_intensities_that_are_not_the_scan_s_are_said(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: float, said: bool
) -> None:
    scan = nib.load(style_scan(tmp_path / "t1.nii.gz"))
    nib.save(nib.Nifti1Image(factor * scan.get_fdata(), scan.affine), tmp_path / "t1.nii.gz")
    load_styles(bundle, parse_styles([f"t1={tmp_path}/t1.nii.gz", "@t2"]), Reporter())
    message = "Images in the style of t1.nii.gz are stored times a power of ten or lifted above zero"
    assert (message in capsys.readouterr().err) == said


def test_a_contrast_that_the_weights_never_saw_is_allowed_and_said(bundle: Bundle, scans: Path) -> None:
    pool = load_styles(bundle, parse_styles([f"swi={scans}/sub-2/t1.nii.gz"]), quiet())
    assert any("never saw swi" in note.text and note.outside for note in pool.notes)
