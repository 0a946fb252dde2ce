from __future__ import annotations

from pathlib import Path

import pytest
import torch

from brainspade_cli.bundle import Bundle
from brainspade_cli.networks.style_encoder import StyleEncoder
from brainspade_cli.styles.arguments import parse_styles
from brainspade_cli.styles.codes import OWN_SHARE, drawn_together, median_code, towards_known, way_to
from brainspade_cli.styles.pool import load_styles
from brainspade_cli.styles.scan import load_style
from brainspade_cli.styles.style_range import style_range
from tests.sampling.parts import quiet, style_scan, tiny_bundle
from tests.styles.test_style_range import banked


def test_an_odd_slice_takes_the_contrast_of_its_scan() -> None:
    codes = torch.tensor([[1.0, -1.0]] * 6 + [[1.2, -1.2], [-9.0, 9.0]])
    drawn = drawn_together(codes)
    assert (drawn - codes[0]).abs().max() <= OWN_SHARE * 10 + 1e-6
    assert torch.equal(drawn[0], codes[0])
    assert not torch.equal(drawn[6], codes[0])
    assert torch.equal(drawn_together(codes[-1:]), codes[-1:])


def test_an_even_number_of_slices_has_its_centre_between_the_middle_two() -> None:
    codes = torch.tensor([[0.0], [1.0], [3.0], [9.0]])
    assert median_code(codes).tolist() == [2.0]
    assert drawn_together(codes).tolist() == [[2 + OWN_SHARE * (code - 2)] for code in (0.0, 1.0, 3.0, 9.0)]
    assert torch.equal(median_code(codes[:3]), codes[1])


def test_all_codes_of_a_scan_move_alike() -> None:
    codes = torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 4.0]])
    moved = towards_known(codes, torch.tensor([[7.0, 8.0]]).repeat(8, 1))
    assert median_code(moved).tolist() == [7.0, 8.0]
    assert torch.allclose(moved - codes, (moved - codes)[0].expand(3, -1))


@pytest.mark.parametrize(("out", "moves"), [(0.2, False), (3.0, True)])
def test_codes_stay_no_further_out_than_half_of_the_known_ones_lie_from_the_rest(out: float, moves: bool) -> None:
    known = torch.randn(25, 3, generator=torch.Generator().manual_seed(0))
    ways = [float(way_to(known[row], torch.cat([known[:row], known[row + 1 :]])).norm()) for row in range(25)]
    codes = torch.full((1, 3), out)
    moved, way = towards_known(codes, known), way_to(codes[0], known)
    left = sorted(ways)[12] if moves else float(way.norm())
    assert float((codes + way - moved).norm()) == pytest.approx(left, rel=1e-4)
    assert torch.equal(moved, codes) != moves


@pytest.mark.parametrize(("far", "counts"), [(11, False), (12, True)])
def test_the_nearest_quarter_of_what_is_known_counts(far: int, counts: bool) -> None:
    code, near = torch.zeros(4), torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    edge = torch.full((1, 4), 3.0)
    known = torch.cat([torch.full((far, 4), 50.0), edge, near])
    way = way_to(code, known)
    assert torch.equal(way, way_to(code, torch.cat([known[:far] + 100, edge, near])))
    assert torch.allclose(way, way_to(code, torch.cat([known[:far], edge + 1, near]))) != counts


def test_the_nearer_of_two_known_codes_counts_more() -> None:
    known = torch.tensor([[1.0], [-3.0], *[[90.0]] * 6])
    assert 0 < float(way_to(torch.zeros(1), known)) < 1


def test_codes_ten_times_as_far_apart_move_ten_times_as_far() -> None:
    rng = torch.Generator().manual_seed(0)
    codes, known = 5 + torch.randn(5, 3, generator=rng), torch.randn(24, 3, generator=rng)
    moved = towards_known(codes, known)
    assert not torch.equal(moved, codes)
    assert torch.allclose(towards_known(10 * codes, 10 * known), 10 * moved, atol=1e-4)


def test_what_is_known_itself_stays() -> None:
    codes = torch.ones(1, 3)
    assert torch.equal(towards_known(codes, codes.repeat(4, 1)), codes)


def encoded(bundle: Bundle, scan: Path) -> torch.Tensor:
    """The codes of a scan's slices as the encoder gives them."""
    encoder = bundle.network("style_encoder")
    assert isinstance(encoder, StyleEncoder)
    with torch.inference_mode():
        return encoder(torch.from_numpy(load_style(scan).slices)[:, None])[0]


@pytest.mark.parametrize(("channel", "moves"), [("t1", True), ("flair", False), ("swi", False)])
def test_a_scan_s_style_is_drawn_near_to_what_the_bank_holds_enough_of(
    tmp_path: Path, channel: str, moves: bool
) -> None:
    bundle = banked(tmp_path / "weights", {"t1": 3.0, "flair": 3.0}, few={"flair": 5})
    scan = style_scan(tmp_path / "scan.nii.gz")
    (source,) = load_styles(bundle, parse_styles([f"{channel}={scan}"]), quiet()).sources
    own = encoded(bundle, scan)
    wanted = drawn_together(towards_known(own, bundle.style_bank(channel).mean) if moves else own)
    assert torch.allclose(source.mean, wanted, atol=1e-5)
    assert not moves or not torch.allclose(source.mean, drawn_together(own), atol=0.1)


def test_a_scan_lies_where_its_own_codes_do(tmp_path: Path) -> None:
    scan = style_scan(tmp_path / "scan.nii.gz")
    own = median_code(encoded(tiny_bundle(tmp_path / "plain"), scan))
    bundle = banked(tmp_path / "weights", {"t1": own + 0.6})
    (source,) = load_styles(bundle, parse_styles([f"t1={scan}"]), quiet()).sources
    assert source.place is not None
    assert source.place.outside
    moved = style_range(bundle).place("t1", median_code(source.mean).double().numpy())
    assert moved is not None
    assert not moved.outside


def test_a_scan_that_looks_like_another_modality_stays_what_it_looks_like(tmp_path: Path) -> None:
    scan = style_scan(tmp_path / "scan.nii.gz")
    own = encoded(tiny_bundle(tmp_path / "plain"), scan)
    bundle = banked(tmp_path / "weights", {"t1": median_code(own) + 5, "flair": median_code(own)})
    (source,) = load_styles(bundle, parse_styles([f"t1={scan}"]), quiet()).sources
    assert source.place is not None
    assert source.place.mistaken
    assert torch.allclose(source.mean, drawn_together(own), atol=1e-5)
