import json

import pytest

from brainspade_cli.errors import InputError
from brainspade_cli.preparing.scan_table import find_scans


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_plain_folders_give_dataset_subject_and_files(tmp_path):
    for name in ("t1", "flair", "tumour"):
        touch(tmp_path / "brats/sub-01" / f"{name}.nii.gz")
    touch(tmp_path / "oasis/sub-01/t1.nii.gz")
    touch(tmp_path / "oasis/sub-01/regions.nii.gz")
    touch(tmp_path / "oasis/readme.nii.gz")
    oasis, brats = sorted(find_scans(tmp_path), key=lambda scan: scan.dataset, reverse=True)
    assert (brats.dataset, brats.subject, sorted(brats.images)) == ("brats", "sub-01", ["flair", "t1"])
    assert brats.tumour is not None
    assert oasis.regions == tmp_path / "oasis/sub-01/regions.nii.gz"
    assert oasis.name == "oasis-sub-01"
    assert oasis.split == "train"


def test_a_bids_dataset_with_sessions_and_derivatives(tmp_path):
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "Pilot", "BIDSVersion": "1.9.0"}))
    touch(tmp_path / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz")
    touch(tmp_path / "sub-01/ses-b/anat/sub-01_ses-b_FLAIR.nii.gz")
    touch(tmp_path / "derivatives/labels/sub-01/ses-a/anat/sub-01_ses-a_desc-tissues_dseg.nii.gz")
    touch(tmp_path / "derivatives/labels/sub-01/ses-b/anat/sub-01_ses-b_label-tumour_mask.nii.gz")
    first, second = find_scans(tmp_path)
    assert (first.dataset, first.subject, first.person) == ("Pilot", "sub-01-ses-a", "sub-01")
    assert first.tissues is not None
    assert list(second.images) == ["flair"]
    assert second.tumour is not None
    assert second.person == first.person


def test_of_several_files_of_a_kind_the_scan_itself_is_taken_and_the_others_are_named(tmp_path):
    for name in ("run-01_T1w", "run-02_T1w", "desc-preproc_T1w"):
        folder = "derivatives/fmriprep/sub-01" if "desc" in name else "sub-01"
        touch(tmp_path / f"{folder}/anat/sub-01_{name}.nii.gz")
    (scan,) = find_scans(tmp_path)
    assert scan.images["t1"].name == "sub-01_run-01_T1w.nii.gz"
    assert [path.name for path in scan.aside] == ["sub-01_run-02_T1w.nii.gz", "sub-01_desc-preproc_T1w.nii.gz"]


def test_maps_of_one_class_are_not_the_eight_maps(tmp_path):
    names = ("01_T1w", "01_label-CSF_probseg", "01_desc-aseg_dseg", "02_T1w", "02_desc-eight_probseg", "02_probseg")
    for name in names:
        touch(tmp_path / f"sub-{name[:2]}/anat/sub-{name}.nii.gz")
    first, second = find_scans(tmp_path)
    assert (first.pv, first.regions is None) == (None, False)
    assert second.pv is not None
    assert second.pv.name == "sub-02_desc-eight_probseg.nii.gz"


def test_images_and_maps_are_of_one_space(tmp_path):
    raw, derived = "sub-01/anat/sub-01", "derivatives/x/sub-01/anat/sub-01"
    for name in (f"{raw}_T1w", f"{derived}_space-MNI_T1w", f"{derived}_space-MNI_dseg"):
        touch(tmp_path / f"{name}.nii.gz")
    touch(tmp_path / f"{derived}_space-MNI_desc-tissues_dseg.nii.gz")
    (scan,) = find_scans(tmp_path)
    assert scan.images["t1"].name == "sub-01_space-MNI_T1w.nii.gz"
    assert scan.tissues is not None
    touch(tmp_path / f"{derived}_space-orig_desc-tissues_dseg.nii.gz")
    (scan,) = find_scans(tmp_path)
    assert scan.images["t1"].name == "sub-01_T1w.nii.gz"
    assert scan.tissues.name == "sub-01_space-orig_desc-tissues_dseg.nii.gz"
    assert len(scan.aside) == 2


def test_a_t1_with_a_contrast_agent_is_another_contrast(tmp_path):
    plain, enhanced = (tmp_path / f"sub-01/anat/sub-01{agent}_T1w.nii.gz" for agent in ("", "_ce-gadolinium"))
    touch(plain)
    touch(enhanced)
    (scan,) = find_scans(tmp_path)
    assert scan.images == {"t1": plain, "t1ce": enhanced}
    assert scan.aside == ()


def test_hidden_files_are_no_scans(tmp_path):
    touch(tmp_path / "sub-01/t1.nii.gz")
    touch(tmp_path / "sub-01/._t1.nii.gz")
    touch(tmp_path / ".trash/sub-02/t1.nii.gz")
    (scan,) = find_scans(tmp_path)
    assert scan.images["t1"].name == "t1.nii.gz"
    assert scan.aside == ()


def test_a_table_names_people_splits_and_paths_beside_it(tmp_path):
    table = tmp_path / "people.tsv"
    table.write_text(
        "subject\tdataset\tperson\tsplit\tt1\tregions\ns1\todd\tp1\theld-out\ta/t1.nii\t\ns2\todd\tp2\t\tb.nii\tr.nii\n"
    )
    held, trained = find_scans(table)
    assert (held.split, held.person, held.images["t1"], held.regions) == ("held-out", "p1", tmp_path / "a/t1.nii", None)
    assert (trained.split, trained.regions) == ("train", tmp_path / "r.nii")
    table.write_text(table.read_text().replace("p2", "p1"))
    with pytest.raises(InputError, match=r"people\.tsv has .*p1 in training and held out"):
        find_scans(table)
    assert {scan.split for scan in find_scans(table, ["p1"])} == {"held-out"}


def test_held_out_goes_by_person(tmp_path):
    for session in ("a", "b"):
        touch(tmp_path / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_T1w.nii.gz")
    touch(tmp_path / "sub-02/anat/sub-02_T1w.nii.gz")
    splits = {scan.subject: scan.split for scan in find_scans(tmp_path, ["sub-01"])}
    assert splits == {"sub-01-ses-a": "held-out", "sub-01-ses-b": "held-out", "sub-02": "train"}


@pytest.mark.parametrize(
    ("held_out", "expected"),
    [
        ("sub-01", {"brats/sub-01", "oasis/sub-01"}),
        ("oasis/sub-01", {"oasis/sub-01"}),
        ("sub-02", {"oasis/sub-02"}),
    ],
)
def test_equal_subject_names_of_two_datasets_are_two_people(tmp_path, held_out, expected):
    for scan in ("brats/sub-01", "oasis/sub-01/ses-a", "oasis/sub-01/ses-b", "oasis/sub-02"):
        touch(tmp_path / scan / "t1.nii.gz")
    scans = find_scans(tmp_path, [held_out])
    assert {scan.person for scan in scans} == {"brats/sub-01", "oasis/sub-01", "oasis/sub-02"}
    assert {scan.person for scan in scans if scan.split == "held-out"} == expected
    with pytest.raises(InputError, match="no person named brats/sub-02"):
        find_scans(tmp_path, ["brats/sub-02"])


def test_one_dataset_keeps_plain_names_and_takes_both_forms(tmp_path):
    touch(tmp_path / "oasis/sub-01/t1.nii.gz")
    for name in ("sub-01", "oasis/sub-01"):
        (scan,) = find_scans(tmp_path, [name])
        assert (scan.person, scan.split) == ("sub-01", "held-out")


def test_a_table_can_give_one_person_scans_in_two_datasets(tmp_path):
    table = tmp_path / "people.tsv"
    table.write_text("subject\tdataset\tperson\tt1\ns1\ta\tp1\tx.nii\ns1\tb\tp1\ty.nii\ns2\tb\tp2\tz.nii\n")
    assert [scan.split for scan in find_scans(table, ["a/p1"])] == ["held-out", "held-out", "train"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("dataset\tt1\nx\ty\n", "needs a column `subject`"),
        ("subject\tt9\nx\ty\n", "at least one of"),
        ("subject\tt1\tmood\nx\ty\tz\n", "mean nothing here: mood"),
        ("subject\tt1\n\tb.nii\n", "line 2: `subject` is empty"),
        ("subject\tt1\tsplit\na\tb.nii\ttest\n", "split 'test'"),
        ("subject\tt1\na\tb.nii\na\tc.nii\n", "more than once"),
        ("", "needs a column"),
    ],
)
def test_tables_that_cannot_be_used_say_why(tmp_path, content, reason):
    table = tmp_path / "people.tsv"
    table.write_text(content)
    with pytest.raises(InputError, match=reason):
        find_scans(table)


def test_sources_without_scans_and_unknown_people_say_so(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_scans(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no scan"):
        find_scans(tmp_path)
    touch(tmp_path / "sub-01/t1.nii.gz")
    with pytest.raises(InputError, match="no person named sub-09"):
        find_scans(tmp_path, ["sub-09"])


@pytest.mark.parametrize("name", ["Zo\u00eb\u00a0B", "\u0646\u200c\u0645", "y\u3000x", "a\u202fb", "\U0001f9e0"])
def test_names_may_hold_any_letters_and_spaces(tmp_path, name):
    (tmp_path / "t.tsv").write_text(f"subject\tt1\nx\t{name}.nii.gz\n", encoding="utf-8")
    assert find_scans(tmp_path / "t.tsv")[0].images["t1"].name == f"{name}.nii.gz"
