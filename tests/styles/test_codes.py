from __future__ import annotations

from pathlib import Path

import pytest
import torch

from brainspade_cli.networks.style_encoder import StyleEncoder
from brainspade_cli.styles.arguments import parse_styles
from brainspade_cli.styles.codes import KNOWN_SHARE, NEAREST, OWN_SHARE, drawn_together, median_code, towards_known
from brainspade_cli.styles.pool import load_styles
from brainspade_cli.styles.scan import load_style
from tests.sampling.parts import quiet, style_scan
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


def test_codes_go_halfway_to_what_is_known_and_keep_their_differences() -> None:
    codes = torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 4.0]])
    known = torch.tensor([[7.0, 8.0]]).repeat(8, 1)
    moved = towards_known(codes, known)
    assert median_code(moved).tolist() == [3 + KNOWN_SHARE * 4, KNOWN_SHARE * 8]
    assert torch.allclose(moved - codes, (moved - codes)[0].expand(3, -1))


def test_what_is_known_far_away_does_not_count() -> None:
    codes, near = torch.zeros(3, 4), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    far = 50 + torch.randn(NEAREST * 5 - 5, 4, generator=torch.Generator().manual_seed(1))
    moved = towards_known(codes, torch.cat([far, near]))
    assert torch.allclose(moved, towards_known(codes, torch.cat([near, far + 100])))
    assert moved.abs().max() < 2


def test_the_nearer_of_two_known_codes_counts_more() -> None:
    known = torch.tensor([[1.0], [-3.0]] + [[90.0]] * (2 * NEAREST - 2))
    moved = float(towards_known(torch.zeros(1, 1), known)[0, 0])
    assert 0 < moved < KNOWN_SHARE


def test_a_code_that_is_known_itself_stays() -> None:
    codes = torch.ones(1, 3)
    assert torch.equal(towards_known(codes, codes.repeat(4, 1)), codes)


@pytest.mark.parametrize(("channel", "moves"), [("t1", True), ("flair", False), ("swi", False)])
def test_a_scan_s_style_is_drawn_near_to_what_the_bank_holds_enough_of(
    tmp_path: Path, channel: str, moves: bool
) -> None:
    bundle = banked(tmp_path / "weights", {"t1": 3.0, "flair": 3.0}, few={"flair": 5})
    scan = style_scan(tmp_path / "scan.nii.gz")
    (source,) = load_styles(bundle, parse_styles([f"{channel}={scan}"]), quiet()).sources
    encoder = bundle.network("style_encoder")
    assert isinstance(encoder, StyleEncoder)
    own = encoder(torch.from_numpy(load_style(scan).slices)[:, None])[0]
    wanted = drawn_together(towards_known(own, bundle.style_bank(channel).mean) if moves else own)
    assert torch.allclose(source.mean, wanted, atol=1e-5)
    assert not moves or not torch.allclose(source.mean, drawn_together(own), atol=0.1)
