from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.errors import NAMED_AT_MOST, InputError, ScanError
from brainspade_cli.sampling.run import SampleRequest, open_run
from brainspade_cli.styles import pool
from brainspade_cli.styles.arguments import parse_styles
from brainspade_cli.styles.pool import StylePool, load_styles
from brainspade_cli.styles.scan import load_style
from brainspade_cli.styles.style_range import FEWEST_CODES, StyleRange, _distances_to_the_rest, style_range
from tests.sampling.parts import quiet, style_scan, tiny_bundle

WIDTH = 8
APART = 3.0


def banked(
    folder: Path,
    centres: Mapping[str, float | torch.Tensor],
    *,
    codes: int = 60,
    modalities: tuple[str, ...] = (),
    few: Mapping[str, int] = MappingProxyType({}),
) -> Bundle:
    """A tiny bundle whose bank holds codes of SD 0.3 around a centre for each modality; `few`: how many, of some."""
    bundle = tiny_bundle(folder)
    rng = torch.Generator().manual_seed(0)
    bank = {}
    for name, centre in centres.items():
        bank[f"{name}.mean"] = centre + 0.3 * torch.randn(few.get(name, codes), WIDTH, generator=rng)
        bank[f"{name}.log_variance"] = torch.full((few.get(name, codes), WIDTH), -4.0)
    entries = {name: {"intensity_mean": 300.0, "intensity_std": 80.0} for name in centres}
    updates = {"style_bank": entries, "modalities": list(modalities or centres)}
    return create_or_update_bundle(bundle.folder, config_updates=updates, networks={"style_bank": bank})


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> StyleRange:
    return style_range(banked(tmp_path_factory.mktemp("weights"), {"t1": 0.0, "flair": APART}))


def test_new_codes_of_a_modality_lie_inside_at_the_share_that_is_promised(known: StyleRange) -> None:
    codes = 0.3 * np.random.default_rng(5).standard_normal((500, WIDTH))
    places = [known.place("t1", code) for code in codes]
    assert 0.9 < np.mean([not place.outside for place in places if place]) < 1


def test_a_code_of_no_modality_lies_outside_and_its_distance_grows(known: StyleRange) -> None:
    near, far = (known.place("t1", np.full(WIDTH, -value)) for value in (1.0, 4.0))
    assert near
    assert far
    assert near.outside
    assert not near.mistaken
    assert far.distance > 2 * near.distance
    assert f"distance {near.distance:.2f}" in near.words("a.nii.gz", "t1")


def test_a_misnamed_scan_is_told_by_the_nearest_modality(known: StyleRange) -> None:
    place = known.place("t1", np.full(WIDTH, APART))
    assert place
    assert (place.nearest, place.mistaken, place.outside) == ("flair", True, True)
    assert "is called t1 and looks to the weights like flair" in place.words("a.nii.gz", "t1")


def test_alike_modalities_are_not_played_off_against_each_other(tmp_path: Path) -> None:
    alike = style_range(banked(tmp_path, {"t1": 0.0, "t1ce": 0.1}))
    codes = 0.3 * np.random.default_rng(5).standard_normal((200, WIDTH))
    assert np.mean([place.mistaken for code in codes if (place := alike.place("t1", code))]) < 0.1


def test_a_channel_without_a_bank_is_told_what_is_nearest(known: StyleRange) -> None:
    place = known.place("swi", np.full(WIDTH, APART))
    assert place
    assert place.outside
    assert place.distance is None
    assert "no styles of swi" in place.words("a.nii.gz", "swi")
    assert "nearest to a.nii.gz are their flair styles" in place.words("a.nii.gz", "swi")


def test_few_codes_tell_nothing(tmp_path: Path) -> None:
    few = style_range(banked(tmp_path, {"t1": 0.0}, codes=FEWEST_CODES - 1))
    assert few.place("t1", np.full(WIDTH, 9.0)) is None


def test_few_codes_beside_many_tell_nothing_of_their_own_channel(tmp_path: Path) -> None:
    bundle = banked(tmp_path, {"t1": 0.0, "flair": APART}, few={"flair": FEWEST_CODES - 1})
    known = style_range(bundle)
    assert known.place("flair", np.full(WIDTH, APART)) is None
    assert known.place("t1", np.full(WIDTH, 0.0))


def test_each_code_is_held_against_the_spread_of_the_others() -> None:
    rng = np.random.default_rng(0)
    means, variances = rng.standard_normal((30, WIDTH)), np.full((30, WIDTH), 0.02)
    explicit = []
    for place in range(len(means)):
        others = np.delete(means, place, axis=0)
        away = means[place] - others.mean(axis=0)
        covariance = np.cov(others, rowvar=False) + np.diag(variances[0])
        explicit.append(np.sqrt(away @ np.linalg.inv(covariance) @ away / WIDTH))
    assert _distances_to_the_rest(means, variances) == pytest.approx(explicit)


def test_codes_of_a_bank_that_look_like_another_modality_are_not_drawn(tmp_path: Path) -> None:
    bundle = banked(tmp_path, {"t1": 0.0, "flair": APART})
    codes = load_file(bundle.folder / "style_bank.safetensors")
    codes["flair.mean"][7] = 0.1
    bundle = create_or_update_bundle(bundle.folder, config_updates={}, networks={"style_bank": codes})
    # Whatever the channel is called, it is the bank that codes are held against.
    styles = load_styles(bundle, parse_styles(["@t1", "t1ce=@flair"]), quiet())
    drawn = [styles.draw(0, index) for index in range(600)]
    assert {pair[0].slice_index for pair in drawn} == set(range(60))
    assert {pair[1].slice_index for pair in drawn} == set(range(60)) - {7}


def test_a_head_that_looks_like_another_modality_is_refused_until_it_is_stripped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = banked(tmp_path / "weights", {"t1": 0.0, "flair": APART})
    scan = style_scan(tmp_path / "t1.nii.gz")

    def loaded(skull: bool, stripped: bool, code: float = APART) -> StylePool:
        monkeypatch.setattr(pool, "load_style", lambda path: replace(load_style(path), skull=skull, stripped=stripped))
        monkeypatch.setattr(pool, "median_code", lambda codes: torch.full((WIDTH,), code))
        return load_styles(bundle, parse_styles([str(scan)]), quiet())

    with pytest.raises(ScanError, match=r"t1\.nii\.gz shows a skull .* like flair, not t1: so would"):
        loaded(skull=True, stripped=False)
    assert loaded(skull=True, stripped=True).sources[0].stripped
    # Unlike all that the weights saw, but like nothing else either: said, and no more.
    assert any("lies outside the t1 styles" in note.text for note in loaded(True, False, -APART).notes)
    asked = SampleRequest((str(scan),), 1, tmp_path / "out", weights=str(tmp_path / "weights"), device="cpu")
    assert open_run(asked, quiet()).settings["styles"][0][3:] == []
    loaded(skull=True, stripped=True)
    assert open_run(asked, quiet()).settings["styles"][0][3:] == ["stripped"]
    assert any("and so may what is painted after it" in note.text for note in loaded(False, False).notes)


def test_strict_refuses_what_is_otherwise_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = banked(tmp_path / "weights", {"t1": 50.0, "flair": -50.0})
    scan = style_scan(tmp_path / "t1.nii.gz")
    loaded = load_styles(bundle, parse_styles([str(scan)]), quiet())
    assert loaded.sources[0].place
    assert loaded.sources[0].place.outside
    assert any(f"{scan} lies outside the t1 styles" in note.text and note.outside for note in loaded.notes)
    assert f"{scan} lies outside" in capsys.readouterr().err
    asked = SampleRequest((str(scan),), 1, tmp_path / "out", weights=str(tmp_path / "weights"), device="cpu")
    run = open_run(asked, quiet())
    assert run.record()["styles"][0]["range"]["outside"] is True
    assert any("t1.nii.gz lies outside" in warning for warning in run.record()["warnings"])
    assert str(tmp_path) not in " ".join(run.record()["warnings"])
    # Thick slices, a coarse plane, and a style outside the range: three reasons a scan, which is named once.
    several = tuple(str(style_scan(tmp_path / f"t1-{number}.nii.gz")) for number in range(NAMED_AT_MOST + 2))
    with pytest.raises(InputError, match=r"--strict refuses .*t1-0\.nii\.gz, .*t1-2\.nii\.gz and 2 more: .* Choose"):
        open_run(SampleRequest(**{**vars(asked), "styles": several, "strict": True}), quiet())
    with pytest.raises(InputError, match=r"--strict refuses .*/t1\.nii\.gz: the warnings above .*\. Choose"):
        open_run(SampleRequest(**{**vars(asked), "strict": True}), quiet())
    banks = SampleRequest(**{**vars(asked), "styles": ("@t1",), "strict": True})
    assert open_run(banks, quiet()).styles.notes == ()


def test_a_run_with_other_banked_codes_is_another(tmp_path: Path) -> None:
    asked = SampleRequest(
        (f"t1={style_scan(tmp_path / 't1.nii.gz')}",), 1, tmp_path / "set", weights=str(tmp_path / "weights")
    )
    banked(tmp_path / "weights", {"t1": 0.0})
    settings = open_run(asked, quiet()).settings
    assert open_run(asked, quiet()).settings == settings
    banked(tmp_path / "weights", {"t1": 0.5})
    assert open_run(asked, quiet()).settings != settings
