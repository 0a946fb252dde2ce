from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainspade_cli.errors import CheckFailed, DatasetError
from brainspade_cli.nnunet import copying
from brainspade_cli.nnunet.dataset import read_dataset
from brainspade_cli.nnunet.export import export
from brainspade_cli.nnunet.planes import read_plane
from brainspade_cli.nnunet.provenance import read_manifest
from brainspade_cli.nnunet.raw import NIFTI, PNG
from brainspade_cli.nnunet.sources import case_prefixes
from brainspade_cli.nnunet.transfer import transfer_label
from tests.nnunet.sets import LPS, TABLE, has_tumour, phantom, real_set, synthetic_set

FAST = {"background": 0, "CSF": 1, "GM": 2, "WM": 3}
TO_FAST = {4: 2, 5: 3, 6: 3, 7: 3}


@pytest.fixture
def made(tmp_path):
    return synthetic_set(tmp_path / "Dataset501_brainspade")


@pytest.fixture
def run(tmp_path, reporter):
    """Export into tmp_path/raw/Dataset700_mix; returns the folder and the summary."""

    def run(datasets, **options):
        datasets = datasets if isinstance(datasets, list) else [datasets]
        summary = export(datasets, tmp_path / "raw", 700, "mix", reporter=reporter, **options)
        return tmp_path / "raw" / "Dataset700_mix", summary

    return run


def pixels(folder, case, channel=None):
    layout_case = next(found for found in read_dataset(folder).cases if found.name == case)
    path = layout_case.label if channel is None else layout_case.images[channel]
    return read_plane(path)[0]


def test_plain_export_copies_bytes_and_says_what_it_is(made, run):
    folder, summary = run(made)
    for part in ("imagesTr", "labelsTr"):
        assert {path.name: path.read_bytes() for path in (made / part).iterdir()} == {
            path.name: path.read_bytes() for path in (folder / part).iterdir()
        }
    content = json.loads((folder / "dataset.json").read_text())
    assert content["labels"] == TABLE
    assert content["numTraining"] == summary["cases"] == 3
    assert content["overwrite_image_reader_writer"] == "SimpleITKIO"
    assert content["brainspade"]["sources"][0]["dataset"] == "Dataset501_brainspade"
    assert summary["next"].startswith(f"nnUNet_raw={folder.parent} nnUNet_preprocessed=")
    assert summary["next"].endswith(" nnUNetv2_plan_and_preprocess -d 700 -c 2d --verify_dataset_integrity")
    row = read_manifest(folder)["brainspade_000001"]
    assert row["came_from"] == {"dataset": "Dataset501_brainspade", "case": "brainspade_000001", "real": False}
    assert row["index"] == 1
    assert row["files"] == ["imagesTr/brainspade_000001_0000.nii.gz", "labelsTr/brainspade_000001.nii.gz"]


def test_tissues_ignore_the_lesion_where_there_is_one(made, run):
    folder, summary = run(made, task="tissues")
    assert summary["labels"] == {"background": 0, "csf": 1, "gm": 2, "wm": 3, "ignore": 4}
    expected = np.array([0, 1, 2, 3, 2, 3, 4, 4], np.uint8)
    for case in ("brainspade_000000", "brainspade_000001"):
        assert np.array_equal(pixels(folder, case), expected[pixels(made, case)])
        assert np.array_equal(pixels(folder, case, 0), pixels(made, case, 0))
    before, after = (nib.load(place / "labelsTr" / "brainspade_000001.nii.gz") for place in (made, folder))
    assert after.get_data_dtype() == np.uint8
    assert bytes(after.header.binaryblock) == bytes(before.header.binaryblock)


def test_tissues_without_any_lesion_declare_no_ignore(tmp_path, run):
    folder, summary = run(synthetic_set(tmp_path / "Dataset501_a", tumours=False), task="tissues")
    assert summary["labels"] == {"background": 0, "csf": 1, "gm": 2, "wm": 3}
    assert json.loads((folder / "dataset.json").read_text())["labels"] == summary["labels"]


def test_whole_tumour_task(made, run):
    folder, summary = run(made, task="tumour", check=True)
    assert summary["labels"] == {"background": 0, "whole_tumour": 1}
    for case in ("brainspade_000000", "brainspade_000001"):
        assert np.array_equal(pixels(folder, case), np.isin(pixels(made, case), (6, 7)))
    assert has_tumour(pixels(made, "brainspade_000001"))


@pytest.mark.parametrize(("first", "second"), [(NIFTI, PNG), (PNG, NIFTI)])
def test_change_of_format_there_and_back_loses_nothing(tmp_path, reporter, first, second):
    names = {NIFTI: "nifti", PNG: "png"}
    made = synthetic_set(tmp_path / "Dataset501_a", channels=("t1", "flair"), file_ending=first)
    export([made], tmp_path, 502, "b", file_format=names[second], check=True, reporter=reporter)
    export([tmp_path / "Dataset502_b"], tmp_path, 503, "c", file_format=names[first], check=True, reporter=reporter)
    for part in ("imagesTr", "labelsTr"):
        there = {path.name for path in (tmp_path / "Dataset502_b" / part).iterdir()}
        assert there == {path.name.replace(first, second) for path in (made / part).iterdir()}
        for path in (made / part).iterdir():
            assert (tmp_path / "Dataset503_c" / part / path.name).read_bytes() == path.read_bytes()


def test_mixed_formats_follow_the_first_and_names_are_kept_apart(tmp_path, run):
    one = synthetic_set(tmp_path / "Dataset501_one", ["a", "b"])
    two = synthetic_set(tmp_path / "Dataset502_two", ["b", "c"], file_ending=PNG, seed=9)
    folder, summary = run([one, two])
    assert summary["file_ending"] == NIFTI
    assert [case.name for case in read_dataset(folder).cases] == ["one_a", "one_b", "two_b", "two_c"]
    assert np.array_equal(pixels(folder, "one_b", 0), pixels(one, "b", 0))
    assert np.array_equal(pixels(folder, "two_b", 0), pixels(two, "b", 0))


@given(
    synthetic=st.lists(
        st.sets(st.from_regex(r"(s1_|s2_|ss1_|a_|b_)?[ab01]{1,2}", fullmatch=True)), min_size=1, max_size=4
    ),
    real=st.sets(st.from_regex(r"(s1_|s2_|ss1_|a_)?[ab01]{1,2}", fullmatch=True)),
    names=st.lists(st.sampled_from("ab"), min_size=4, max_size=4),
)
def test_case_names_never_collide_and_change_only_where_they_must(synthetic, real, names):
    parts = [sorted(part) for part in synthetic]
    prefixes = case_prefixes(parts, names[: len(parts)], sorted(real))
    cases = [prefix + case for prefix, part in zip(prefixes, parts, strict=True) for case in part]
    assert len({*cases, *real}) == len(cases) + len(real)
    plain = [case for part in parts for case in part]
    assert (set(prefixes) == {""}) == (len({*plain, *real}) == len(plain) + len(real))


@given(order=st.permutations(range(8)))
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_source_numbering_does_not_matter_only_names_do(tmp_path_factory, reporter, order):
    """The same anatomy, its labels numbered anyhow, gives the same task labels."""
    root = tmp_path_factory.mktemp("order")
    made = synthetic_set(root / "Dataset501_a", ["c0", "c1"])
    values = [0, *[value + 1 for value in order if value < 7]]
    other = synthetic_set(root / "Dataset502_b", ["c0", "c1"])
    for path in (other / "labelsTr").iterdir():
        image = nib.load(path)
        changed = np.array(values, np.uint8)[np.asarray(image.dataobj)]
        nib.save(nib.Nifti1Image(changed, image.affine, image.header), path)
    content = json.loads((other / "dataset.json").read_text())
    content["labels"] = {name: values[number] for name, number in TABLE.items()}
    (other / "dataset.json").write_text(json.dumps(content))
    for number, source in ((601, made), (602, other)):
        export([source], root, number, "x", task="tissues", reporter=reporter)
    for case in ("c0", "c1"):
        assert np.array_equal(pixels(root / "Dataset601_x", case), pixels(root / "Dataset602_x", case))


def test_hybrid_keeps_real_volumes_and_validates_on_them_only(tmp_path, made, run, reporter, nnunet_verdict):
    real = real_set(tmp_path / "Dataset010_real", labels=FAST, values=TO_FAST, test_cases=["sub-09"])
    folder, summary = run(made, task="tissues", real=real, splits=True, check=True)
    assert (summary["synthetic"], summary["real"], summary["folds"]) == (3, 2, 2)
    for part in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        for path in (real / part).iterdir():
            assert (folder / part / path.name).read_bytes() == path.read_bytes()
    splits = json.loads((folder / "splits_final.json").read_text())
    assert sorted(split["val"] for split in splits) == [["sub-01"], ["sub-02"]]
    assert all({case.name for case in read_dataset(made).cases} < set(split["train"]) for split in splits)
    assert any("nnUNet_preprocessed/Dataset700_mix" in line for line in reporter.said)
    assert nnunet_verdict(folder) is None


def test_real_labels_are_renumbered_by_name_with_their_geometry(tmp_path, made, run):
    labels = {"background": 0, "wm": 1, "gm": 2, "csf": 3}
    values = {1: 3, 3: 1, 4: 2, 5: 1, 6: 1, 7: 1}
    affine = LPS @ np.diag([0.5, 0.5, 3, 1])
    real = real_set(tmp_path / "Dataset010_real", labels=labels, values=values, test_cases=["t"], affine=affine)
    folder, _ = run(made, task="tissues", real=real)
    for part, case in (("labelsTr", "sub-01"), ("labelsTs", "t")):
        before, after = (nib.load(place / part / f"{case}.nii.gz") for place in (real, folder))
        assert np.array_equal(np.asarray(after.dataobj), np.array([0, 3, 2, 1])[np.asarray(before.dataobj)])
        assert np.array_equal(after.affine, before.affine)
        assert after.header.get_zooms() == before.header.get_zooms() == (0.5, 0.5, 3)


def test_real_labels_of_other_names_go_by_number_with_a_warning(tmp_path, made, run, reporter):
    labels = {"background": 0, "Liquor": 1, "Grau": 2, "Weiss": 3}
    real = real_set(tmp_path / "Dataset010_real", labels=labels, values=TO_FAST)
    run(made, task="tissues", real=real)
    assert any("by number" in line for line in reporter.warned)


def test_real_labels_of_other_names_fit_through_a_task_file(tmp_path, made, run):
    labels = {"background": 0, "Necrosis": 1, "Edema": 2}
    real = real_set(tmp_path / "Dataset010_real", labels=labels, values={1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 1, 7: 2})
    with pytest.raises(DatasetError, match=r"Necrosis, Edema.*task file"):
        run(made, task="tumour", real=real)
    task = tmp_path / "whole.json"
    task.write_text(json.dumps({"labels": {"lesion": ["tumour", "oedema", "Necrosis", "Edema"]}}))
    folder, _ = run(made, task=str(task), real=real, check=True)
    after = np.asarray(nib.load(folder / "labelsTr" / "sub-01.nii.gz").dataobj)
    before = np.asarray(nib.load(real / "labelsTr" / "sub-01.nii.gz").dataobj)
    assert np.array_equal(after, before > 0)
    assert after.any()


def test_real_labels_that_leave_tissue_undrawn_are_refused(tmp_path, made, run):
    """A set with tumours drawn and nothing else: its grey matter is no background."""
    labels = {"background": 0, "tumour": 1, "oedema": 2}
    values = {1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 1, 7: 2}
    real = real_set(tmp_path / "Dataset010_real", labels=labels, values=values)
    with pytest.raises(DatasetError, match="nothing that becomes csf, gm, wm"):
        run(made, task="tissues", real=real)
    _, summary = run(made, task="tumour", real=real)
    assert summary["real"] == 2


def test_png_slices_join_nifti_volumes_as_nifti(tmp_path, run):
    made = synthetic_set(tmp_path / "Dataset501_a", file_ending=PNG)
    real = real_set(tmp_path / "Dataset010_real")
    with pytest.raises(DatasetError, match="real data keeps its format"):
        run(made, real=real, file_format="png")
    _, summary = run(made, real=real, check=True)
    assert summary["file_ending"] == NIFTI


def test_synthetic_cases_yield_their_names_to_real_ones(tmp_path, run):
    made = synthetic_set(tmp_path / "Dataset501_a", ["sub-01", "x"])
    folder, _ = run(made, real=real_set(tmp_path / "Dataset010_real"))
    assert [case.name for case in read_dataset(folder).cases] == ["a_sub-01", "a_x", "sub-01", "sub-02"]


@pytest.mark.parametrize("kill_after", [0, 1, 3, 5])
def test_killed_export_goes_on_and_is_no_dataset_before_its_end(made, run, tmp_path, monkeypatch, kill_after):
    folder, _ = run(made, task="tissues")
    undisturbed = tree(folder)
    shutil.rmtree(folder)
    written = []

    def killed(original):
        def transfer(source, target, *rest):
            if len(written) == kill_after:
                raise KeyboardInterrupt
            original(source, target, *rest)
            written.append(target)

        return transfer

    with monkeypatch.context() as patched:
        patched.setattr(copying, "THREADS", 1)
        for name in ("transfer_image", "transfer_label"):
            patched.setattr(copying, name, killed(getattr(copying, name)))
        with pytest.raises(KeyboardInterrupt):
            run(made, task="tissues")
    assert len(written) == kill_after
    assert not (folder / "dataset.json").exists()
    copied = []

    def noted(source, target, *rest):
        copied.append(target)
        transfer_label(source, target, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(copying, "transfer_label", noted)
        run(made, task="tissues")
    assert len(copied) == 3 - kill_after // 2
    assert not set(copied) & set(written)
    assert tree(folder) == undisturbed


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_export_killed_before_its_marker_goes_on(tmp_path, made, run):
    left = tmp_path / "raw" / "Dataset700_mix" / "brainspade"
    left.mkdir(parents=True)
    (left / ".12.partial.export.json").write_text("{")
    _, summary = run(made)
    assert summary["cases"] == 3


def test_file_emptied_by_a_power_cut_is_written_again(made, run):
    folder, _ = run(made)
    before = tree(folder)
    (folder / "imagesTr" / "brainspade_000002_0000.nii.gz").write_bytes(b"")
    run(made)
    assert tree(folder) == before


def test_same_command_again_changes_nothing_and_mends_what_was_lost(made, run, monkeypatch):
    folder, first = run(made, task="tissues", splits=True)
    before = tree(folder)
    assert run(made, task="tissues", splits=True) == (folder, first)
    assert tree(folder) == before
    (folder / "labelsTr" / "brainspade_000001.nii.gz").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(copying, "transfer_label", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(made, task="tissues", splits=True)
    assert not (folder / "dataset.json").exists()
    run(made, task="tissues", splits=True)
    assert tree(folder) == before


def test_what_has_changed_since_is_exported_again(made, run, reporter):
    folder, _ = run(made, task="tissues")
    before = tree(folder)
    first = "brainspade_000000"
    shutil.copyfile(made / "imagesTr" / f"{first}_0000.nii.gz", made / "imagesTr" / "brainspade_000001_0000.nii.gz")
    # One that takes the other's place, with a date from long before.
    shutil.copyfile(made / "labelsTr" / f"{first}.nii.gz", made / "new")
    os.utime(made / "new", (1, 1))
    (made / "new").replace(made / "labelsTr" / "brainspade_000002.nii.gz")
    (folder / "brainspade" / "evaluation.json").write_text("{}")
    run(made, task="tissues")
    assert any("for the dataset changes: evaluation.json." in text for text in reporter.said)
    assert any(
        text.startswith("2 of ") and "cases and test files are new or have changed" in text for text in reporter.said
    )
    expected = {
        Path("imagesTr/brainspade_000001_0000.nii.gz"): before[Path(f"imagesTr/{first}_0000.nii.gz")],
        Path("labelsTr/brainspade_000002.nii.gz"): before[Path(f"labelsTr/{first}.nii.gz")],
    }
    assert tree(folder) == {**before, **expected} != before


def interrupted(*_):
    raise KeyboardInterrupt


def test_other_command_into_the_same_folder_is_refused(made, run):
    folder, _ = run(made)
    before = tree(folder)
    with pytest.raises(DatasetError, match="differs in task"):
        run(made, task="tumour")
    (made / "dataset.json").write_text((made / "dataset.json").read_text() + "\n")
    with pytest.raises(DatasetError, match="differs in sources"):
        run(made)
    assert tree(folder) == before


def test_folder_that_holds_something_else_is_left_alone(tmp_path, made, run):
    folder = tmp_path / "raw" / "Dataset700_mix"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match="already holds something else"):
        run(made)
    assert list(folder.iterdir()) == [folder / "thesis.txt"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: {"datasets": []}, "at least one dataset"),
        (lambda root: {"datasets": [root / "Dataset501_brainspade"] * 2}, "named twice"),
        (lambda root: {"task": "tissue"}, "no task 'tissue'"),
        (lambda root: {"file_format": "tiff"}, "no format 'tiff'"),
        (lambda root: {"datasets": [root]}, r"no dataset\.json"),
        (lambda root: {"datasets": [synthetic_set(root / "Dataset1_t", channels=("t1",))]}, None),
        (lambda root: {"real": real_set(root / "r", channels=("T2",))}, "same channels"),
        (lambda root: {"real": real_set(root / "r", channels=("FLAIR", "T1"))}, "same channels"),
        (lambda root: {"datasets": [real_set(root / "r", labels=FAST | {"skull": 4}, values=TO_FAST)]}, "--real"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, made, run, change, said):
    options = {"datasets": [made], **change(tmp_path)}
    if said is None:
        options["datasets"].append(made)
        said = "same channels"
    with pytest.raises(DatasetError, match=said):
        run(**options)
    assert not (tmp_path / "raw" / "Dataset700_mix").exists()


def test_undeclared_value_stops_the_export_by_file(tmp_path, made, run):
    path = made / "labelsTr" / "brainspade_000002.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + np.uint8(3), image.affine), path)
    with pytest.raises(DatasetError, match=r"brainspade_000002\.nii\.gz holds the value 8,"):
        run(made, task="tumour")
    assert not (tmp_path / "raw" / "Dataset700_mix" / "dataset.json").exists()


def test_splits_of_synthetic_cases_keep_siblings_together(tmp_path, run, reporter):
    """Two scans' styles painted on the same ten label maps."""
    sets = []
    for number, style in enumerate(("a", "b")):
        folder = tmp_path / f"Dataset50{number}_{style}"
        sets.append(synthetic_set(folder, [f"c{case}" for case in range(10)], styles=[style]))
    folder, summary = run(sets, splits=True, check=True)
    assert summary["folds"] == 5
    for split in json.loads((folder / "splits_final.json").read_text()):
        assert len(split["val"]) == 4
        assert {case.replace("a_", "b_") for case in split["val"]} == {
            case for case in split["val"] if case.startswith("b_")
        }
    assert any("no more" in line for line in reporter.said)


def tell(folder, told):
    """Add to the rows of a dataset's manifest what `told` says of each, by its number."""
    path = folder / "brainspade" / "manifest.jsonl"
    rows = [json.loads(line) | told(number) for number, line in enumerate(path.read_text().splitlines())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_splits_keep_pairs_of_one_number_and_slices_of_one_file_together(tmp_path, run):
    """Two runs of one seed, whose labels differ by a pixel or in their format, and slices of five given volumes."""
    folders = [tmp_path / "Dataset501_a", tmp_path / "Dataset502_b"]
    for seed, folder in enumerate(folders):
        synthetic_set(folder, [f"c{case}" for case in range(10)], seed=100 * seed, styles=[folder.name])
        settings = {"seed": 0, "tumour": True, "tumour_fraction": 0.5, "sampler": "fitted", "steps": 4, "guidance": 1.0}
        run_json = {"settings": {**settings, "precision": folder.name, "weights": {"denoiser_tumour.safetensors": "0"}}}
        (folder / "brainspade" / "run.json").write_text(json.dumps(run_json))
    folder, _ = run(folders, splits=True)
    for split in json.loads((folder / "splits_final.json").read_text()):
        assert {case[2:] for case in split["val"] if case.startswith("a_")} == {
            case[2:] for case in split["val"] if case.startswith("b_")
        }
    # Healthy people are drawn by another denoiser: their pair 0 is no kin of patients' pair 0.
    shutil.rmtree(folder)
    path = folders[1] / "brainspade" / "run.json"
    path.write_text(path.read_text().replace('"tumour": true', '"tumour": false'))
    folder, _ = run(folders, splits=True)
    splits = json.loads((folder / "splits_final.json").read_text())
    assert any(
        {case[2:] for case in split["val"] if case[0] == "a"} ^ {case[2:] for case in split["val"] if case[0] == "b"}
        for split in splits
    )
    given = synthetic_set(tmp_path / "Dataset503_c", [f"c{case}" for case in range(10)], styles=["one"])
    tell(given, lambda number: {"seed": 0, "origin": "seg.nii.gz", "origin_sha256": str(number // 2)})
    shutil.rmtree(folder)
    folder, _ = run(given, splits=True)
    splits = json.loads((folder / "splits_final.json").read_text())
    assert sorted(sorted({int(case[1:]) // 2 for case in split["val"]}) for split in splits) == [
        [0],
        [1],
        [2],
        [3],
        [4],
    ]


def test_a_real_label_painted_anew_is_kept_from_the_fold_that_it_validates(tmp_path, made, run):
    real = real_set(tmp_path / "Dataset010_real", labels=FAST, values=TO_FAST)
    labels = [sha256((real / "labelsTr" / f"sub-0{number}.nii.gz").read_bytes()).hexdigest() for number in (1, 2)]
    tell(made, lambda number: {"origin": "x", "origin_sha256": labels[number]} if number < 2 else {})
    folder, _ = run(made, task="tissues", real=real, splits=True)
    names = sorted(case.name for case in read_dataset(made).cases)
    for split in json.loads((folder / "splits_final.json").read_text()):
        own = {"sub-01": names[0], "sub-02": names[1]}[split["val"][0]]
        assert set(names) - set(split["train"]) == {own}


def test_given_labels_called_after_a_real_case_count_as_its_own_and_others_are_told(tmp_path, made, run, reporter):
    """A map that can be painted is never the bytes of a label of lesions alone."""
    real = real_set(tmp_path / "Dataset010_real", labels=FAST, values=TO_FAST)
    origins = ["sub-01.nii.gz slice 3", "elsewhere.nii.gz slice 3", None]
    tell(made, lambda number: {"origin": origins[number], "origin_sha256": str(number)})
    folder, _ = run(made, task="tissues", real=real, splits=True)
    names = sorted(case.name for case in read_dataset(made).cases)
    for split in json.loads((folder / "splits_final.json").read_text()):
        assert (names[0] in split["train"]) == (split["val"] != ["sub-01"])
        assert {*names[1:]} < {*split["train"]}
    assert any(
        "1 synthetic cases were painted on given labels that are of no case of" in text for text in reporter.warned
    )


def test_splits_keep_the_styles_of_five_scans_apart(tmp_path, run):
    made = synthetic_set(tmp_path / "Dataset501_a", [f"c{case}" for case in range(10)], styles=list("vwxyz"))
    folder, _ = run(made, splits=True)
    pairs = sorted(split["val"] for split in json.loads((folder / "splits_final.json").read_text()))
    assert pairs == [["c0", "c5"], ["c1", "c6"], ["c2", "c7"], ["c3", "c8"], ["c4", "c9"]]


def test_splits_go_where_nnunet_trains_and_never_over_others(tmp_path, made, run, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "pre"))
    folder, summary = run(made, splits=True)
    place = tmp_path / "pre" / "Dataset700_mix" / "splits_final.json"
    assert summary["splits"] == [str(folder / "splits_final.json"), str(place)]
    assert place.read_bytes() == (folder / "splits_final.json").read_bytes()
    place.write_text(json.dumps([{"train": ["x"], "val": ["y"]}]))
    with pytest.raises(DatasetError, match="earlier dataset"):
        run(made, splits=True)
    assert json.loads(place.read_text()) == [{"train": ["x"], "val": ["y"]}]


def test_check_speaks_up_after_an_export(made, run, reporter):
    path = made / "imagesTr" / "brainspade_000000_0000.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.int16), image.affine), path)
    with pytest.raises(CheckFailed, match="has 1 problem"):
        run(made, check=True)
    assert any("same value in every pixel" in line for line in reporter.warned)


def test_phantoms_differ_so_that_mixing_them_up_would_show():
    assert not np.array_equal(phantom(0)[1], phantom(1)[1])
