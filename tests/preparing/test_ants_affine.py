from types import SimpleNamespace

import numpy as np
import pytest

from brainspade_cli.preparing.ants_affine import world_matrix


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        # RAS (-10, -20, 30) is the centre in LPS: it only moves by the translation (1, 2, 3) of LPS.
        ((-10, -20, 30), (-11, -22, 33)),
        # 5 mm further right of it (LPS -x) turns to LPS -y, which is 5 mm further to the front.
        ((-5, -20, 30), (-11, -17, 33)),
        # 5 mm further to the front (LPS -y) turns to LPS +x, which is 5 mm further left.
        ((-10, -15, 30), (-16, -22, 33)),
        ((-10, -20, 40), (-11, -22, 53)),
    ],
)
def test_an_ants_affine_moves_ras_points_as_it_moves_lps_points(point, expected):
    """A quarter turn about z around (10, 20, 30) in LPS that doubles heights, then a shift by (1, 2, 3)."""
    linear = [0, -1, 0, 1, 0, 0, 0, 0, 2]
    transform = SimpleNamespace(parameters=[*linear, 1, 2, 3], fixed_parameters=[10, 20, 30, 0])
    assert world_matrix(transform) @ [*point, 1] == pytest.approx([*expected, 1])


def test_the_identity_stays_the_identity():
    transform = SimpleNamespace(parameters=[*np.eye(3).ravel(), 0, 0, 0], fixed_parameters=[7, 8, 9])
    assert np.allclose(world_matrix(transform), np.eye(4))
