"""What was asked for against what was made."""

import pytest

from brainspade_cli.evaluating.balance import balance
from brainspade_cli.evaluating.report_text import _balance_lines


def row(lesion, tumour, oedema=0, attempts=1, problems=(), style="a"):
    return {
        "lesion": lesion,
        "pixels": {"tumour": tumour, "oedema": oedema, "gm": 900},
        "attempts": attempts,
        "problems": list(problems),
        "styles": [{"channel": "flair", "name": f"{style}.nii.gz", "sha256": style * 64}],
    }


def test_lesions_styles_and_redrawn_labels_are_counted():
    found = balance(
        [
            row(True, 30),
            row(True, 5, 15, attempts=3, style="b"),
            row(True, 5, 10, attempts=5, problems=["the lesion asked for is absent"]),
            row(False, 0),
        ]
    )
    assert found["pairs"] == 4
    assert found["lesion_asked"] == pytest.approx(0.75)
    assert found["lesion_made"] == pytest.approx(0.5)
    assert found["lesion_as_asked"] == pytest.approx(0.75)
    assert (found["redrawn"], found["flagged"]) == (6, 1)
    assert found["styles"] == {"flair": {"a.nii.gz (aaaaaaaa)": 0.75, "b.nii.gz (bbbbbbbb)": 0.25}}


def test_of_given_labels_nothing_was_asked():
    given = {**row(True, 30), "origin": "a.nii.gz"}
    found = balance([given, {**row(False, 0), "origin": "b.nii.gz"}])
    assert (found["lesion_asked"], found["lesion_made"], found["lesion_as_asked"]) == (None, 0.5, None)
    assert balance([given, row(False, 0)])["lesion_asked"] == 0
    text = "\n".join(_balance_lines(found))
    assert "lesions in 50.0% of the pairs, as the given labels have them" in text
    assert "asked" not in text


@pytest.mark.parametrize(
    "odd", [{}, {"pixels": 3, "styles": "none"}, {"attempts": "two", "lesion": None, "styles": [7, {}]}]
)
def test_rows_of_other_hands_are_passed_over(odd):
    found = balance([odd])
    assert found["pairs"] == 1
    assert found["lesion_asked"] is None
    assert found["redrawn"] == 0
