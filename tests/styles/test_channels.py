from __future__ import annotations

from pathlib import Path

import pytest

from brainspade_cli.errors import InputError
from brainspade_cli.styles.channels import channel_named, channel_of_file, words_without_channel


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("sub-01_ses-02_FLAIR.nii.gz", "flair"),
        ("sub-01_acq-3D_T1w.nii.gz", "t1"),
        ("sub-01_ce-gadolinium_T1w.nii.gz", "t1ce"),
        ("sub-01_space-T1w_FLAIR.nii.gz", "flair"),
        ("flair.nii.gz", "flair"),
        ("T2_FLAIR.nii", "flair"),
        ("flair_brain.nii.gz", "flair"),
        ("BraTS-GLI-00005-000-t2f.nii.gz", "flair"),
        ("BraTS-GLI-00005-000-t1c.nii.gz", "t1ce"),
        ("patient7_t1_post.nii.gz", "t1ce"),
        ("PDw.nii", "pd"),
        ("scan12.nii.gz", None),
        ("t1_to_t2_warp.nii.gz", None),
        ("sub-01_space-T1w_desc-brain_mask.nii.gz", None),
        ("sub-01_T1w_tumour.nii.gz", None),
    ],
)
def test_a_file_name_tells_its_channel(name: str, channel: str | None) -> None:
    assert channel_of_file(Path("anywhere") / name) == channel


def test_users_names_are_normalised() -> None:
    assert [channel_named(name) for name in ("T1w", "t2-FLAIR", "T1_post", "swi")] == ["t1", "flair", "t1ce", "swi"]


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'t1x' is not a channel.*did you mean t1"):
        channel_named("t1x")


def test_contrasts_of_one_subject_have_one_rest_of_a_name() -> None:
    rests = {words_without_channel(Path(name)) for name in ("p7_t1.nii.gz", "p7_flair.nii", "p7-T1-post.nii.gz")}
    assert rests == {"p7"}
