"""`brainspade evaluate` as a person runs it: datasets on disk, a table, a report, one sentence where it cannot be."""

import json
import re
import shutil
from functools import partial

import nibabel as nib
import numpy as np
import pytest

from brainspade_cli.evaluating import evaluate
from brainspade_cli.evaluating.read_raw import open_raw
from brainspade_cli.nnunet.export import export
from brainspade_cli.nnunet.planes import NIFTI, PNG
from brainspade_cli.nnunet.raw import RawLayout, write_case, write_dataset_json
from brainspade_cli.sampling.case_writer import write_maps
from brainspade_cli.sampling.manifest import case_name
from tests.conftest import brain_maps, to_bytes
from tests.nnunet.sets import TABLE, change_json, phantom, real_set, synthetic_set
from tests.sampling.parts import quiet, style_scan

PAIRS = 12


def made_dataset(folder, *, pairs=PAIRS, ending=NIFTI, tumour=True, save_pv=False, style="a" * 64):
    """A dataset as `sample` leaves it, every second pair with a tumour where it may."""
    layout = RawLayout(folder, ending)
    layout.create()
    rows = []
    for index in range(pairs):
        lesion = tumour and index % 2 == 1
        images, label = phantom(index, tumour=lesion)
        height = 10.0 * (index % 3)
        case = case_name(index)
        write_case(layout, case, images, label, z_mm=height)
        if save_pv:
            write_maps(
                layout, index, to_bytes(brain_maps(np.random.default_rng(index), 0.0, tumour=lesion)[None])[0], height
            )
        rows.append(
            {
                "case": case,
                "index": index,
                "attempts": 1 + (index == 0),
                "problems": [],
                "lesion": lesion,
                "position_mm": height,
                "origin": None,
                "pixels": {name: int((label == value).sum()) for name, value in TABLE.items()},
                "styles": [{"channel": "flair", "name": "flair.nii.gz", "sha256": style, "slice": 0}],
            }
        )
    (layout.provenance / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = {"format": 1, "pairs": pairs, "settings": {"tumour": tumour, "tumour_fraction": 0.5}}
    (layout.provenance / "run.json").write_text(json.dumps(run))
    write_dataset_json(folder, TABLE, ("flair",), pairs, ending)
    return folder


@pytest.fixture
def run(command_line):
    """Run `brainspade evaluate ARGUMENTS` in this process; returns exit code, stdout, stderr."""
    return partial(command_line, "evaluate")


@pytest.fixture
def dataset(tmp_path):
    return made_dataset(tmp_path / "Dataset501_brainspade")


def report_of(out):
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_dataset_is_held_against_the_held_out_people(run, dataset, slice_folder):
    code, out, error = run(dataset, "--against", slice_folder, "--json", "--quiet")
    assert (code, error) == (0, "")
    report = report_of(out)
    assert report["against"]["people"] == ["sub-tumour7"]
    assert report["pairs"] == report["looked_at"] == PAIRS
    assert report["labels"]["distance"]["summary"]["value"] > 0
    assert report["labels"]["distinct"] == 1
    assert report["images"]["flair"]["contrast"]["tissues"]["wm"]["value"] > 0
    assert report["images"]["flair"]["agreement"]["value"] == 1
    assert report["balance"]["lesion_asked"] == report["balance"]["lesion_made"] == 0.5
    assert report["balance"]["redrawn"] == 1
    assert any("so few people (1)" in note for note in report["notes"])
    written = json.loads((dataset / "brainspade" / "evaluation.json").read_text())
    assert written == {key: value for key, value in report.items() if key != "file"}
    assert str(dataset.parent) not in json.dumps(written)


@pytest.mark.parametrize("name", ["sub-tumour7", "lesions/sub-tumour7", "rings/sub-tumour7"])
def test_people_whom_the_weights_learnt_from_are_named(run, dataset, slice_folder, monkeypatch, name):
    monkeypatch.setattr(evaluate, "trained_people", lambda layout: (name, "somebody else"))
    notes = report_of(run(dataset, "--against", slice_folder, "--json", "--quiet")[1])["notes"]
    told = [note for note in notes if "learnt from 1 of these 1 people (sub-tumour7)" in note]
    assert len(told) == (name != "rings/sub-tumour7")


def test_the_table_tells_what_each_figure_means(run, dataset, slice_folder):
    code, out, _ = run(dataset, "--against", slice_folder, "--split", "all", "--population", "tumour", "--quiet")
    assert code == 0
    assert "4 tumour people (held out and trained on): sub-tumour4, sub-tumour5" in out
    for figure in ("frechet", "kernel", "coverage", "contrast", "agreement", "components", "similarity"):
        line = next(line for line in out.splitlines() if line.strip().startswith(figure))
        assert np.isfinite(float(line.split()[1])), line
    assert "as the real" in out
    assert "lesions asked for in 50.0% of the pairs" in out
    assert out.rstrip().splitlines()[-1].endswith("evaluation.json")


def test_without_real_people_there_are_no_distances(run, dataset, tmp_path):
    code, out, _ = run(dataset, "--json", "--quiet", "--out", tmp_path / "here" / "report.json")
    assert code == 0
    report = report_of(out)
    assert report["against"] is None
    assert "distance" not in report["labels"]
    assert "fidelity" not in report["images"]["flair"]
    assert report["labels"]["means"]["area/brain"] > 10_000
    assert (tmp_path / "here" / "report.json").is_file()
    assert not (dataset / "brainspade" / "evaluation.json").exists()
    table = run(dataset, "--quiet")[1]
    assert "different labels" in table
    assert "verdict" not in table
    # Nothing stands between an interval and what it means.
    assert re.search(r" to \d\.\d{3} +high is good: overlap of label and brain", table)


def test_both_formats_and_pv_maps_say_the_same(dataset, tmp_path):
    pictures = made_dataset(tmp_path / "Dataset502_png", ending=PNG, save_pv=True)
    sources = [open_raw(folder, made_only=True).source(PAIRS) for folder in (dataset, pictures)]
    for one, other in zip(*(source.readers for source in sources), strict=True):
        first, second = one(), other()
        np.testing.assert_array_equal(first.label, second.label)
        np.testing.assert_array_equal(first.images["flair"], second.images["flair"])
        assert first.height == second.height
        assert first.maps is None
        np.testing.assert_array_equal(second.maps.argmax(axis=0), second.label)


def test_kept_pv_maps_give_their_entropy(run, tmp_path, slice_folder):
    folder = made_dataset(tmp_path / "Dataset501_pv", save_pv=True)
    report = report_of(run(folder, "--against", slice_folder, "--json", "--quiet")[1])
    assert report["labels"]["distance"]["statistics"]["entropy/brain"]["made_mean"] > 0
    assert not any("--save-pv" in note for note in report["notes"])


def test_healthy_sets_are_held_against_the_healthy(run, tmp_path, slice_folder, monkeypatch):
    folder = made_dataset(tmp_path / "Dataset501_healthy", tumour=False)
    report = report_of(run(folder, "--against", slice_folder, "--split", "all", "--json", "--quiet")[1])
    assert report["against"]["people"] == [f"sub-healthy{number}" for number in range(4)]
    assert report["labels"]["distance"]["statistics"]["area/wm"]["real_mean"] > 0
    assert "lesion" not in report["labels"]["distance"]["families"]
    # Nobody healthy has a FLAIR here: it is compared with the two lesion-free slices of each patient.
    assert report["images"]["flair"]["real_images"] == 8
    assert report["against"]["slices"] >= report["against"]["looked_at"]
    # Those who lend images count among whom weights learnt from.
    monkeypatch.setattr(evaluate, "trained_people", lambda layout: ("sub-tumour4",))
    notes = report_of(run(folder, "--against", slice_folder, "--split", "all", "--json", "--quiet")[1])["notes"]
    assert any("learnt from 1 of these 8 people (sub-tumour4)" in note for note in notes)
    monkeypatch.setattr(evaluate, "trained_people", lambda layout: None)
    notes = report_of(run(folder, "--against", slice_folder, "--json", "--quiet")[1])["notes"]
    assert any("learnt from is not on record here" in note for note in notes)


def test_another_raw_dataset_can_stand_for_the_real(run, dataset, tmp_path):
    other = synthetic_set(tmp_path / "Dataset600_real", [f"case_{number:03d}" for number in range(PAIRS)], seed=50)
    report = report_of(run(dataset, "--against", other, "--json", "--quiet")[1])
    assert report["against"]["people"] == []
    assert set(report["images"]["flair"]["fidelity"]) >= {"frechet", "kernel", "precision", "density"}
    assert any("whose the real slices are" in note for note in report["notes"])
    made = f"{PAIRS} of the slices that are called real here were made by brainspade"
    assert any(note.startswith(made) for note in report["notes"])
    (other / "brainspade" / "manifest.jsonl").unlink()
    report = report_of(run(dataset, "--against", other, "--json", "--quiet")[1])
    assert not any("made by brainspade" in note for note in report["notes"])


def test_real_cases_of_an_export_are_left_out(tmp_path):
    made = made_dataset(tmp_path / "Dataset501_brainspade", pairs=4)
    real = synthetic_set(tmp_path / "Dataset600_real", ["sub-01", "sub-02"], seed=50)
    export([made], tmp_path / "raw", 700, "mix", "all", real, reporter=quiet())
    folder = tmp_path / "raw" / "Dataset700_mix"
    assert len(open_raw(folder, made_only=True).cases) == 4
    assert len(open_raw(folder, made_only=False).cases) == 6


def test_a_style_scan_is_compared_with_what_was_painted_after_it(run, tmp_path):
    from brainspade_cli.files import sha256

    style = style_scan(tmp_path / "flair.nii.gz")
    folder = made_dataset(tmp_path / "Dataset501_style", pairs=3, style=sha256(style))
    report = report_of(run(folder, "--style", style, "--json", "--quiet")[1])
    (found,) = report["styles"]
    assert (found["channel"], found["style"], found["images"]) == ("flair", "flair.nii.gz", 3)
    assert found["histogram"]["value"] > found["histogram"]["usual"] > 0
    table = run(folder, "--style", style, "--quiet")[1]
    verdict = "as the real" if found["histogram"]["within"] else "off"
    assert re.search(rf"flair flair\.nii\.gz .*{verdict} .*histogram of the brain", table)
    other = style_scan(tmp_path / "other.nii.gz", seed=3)
    code, _, error = run(folder, "--style", other)
    assert code == 2
    assert "no style scan of" in error


def test_few_slices_of_many_are_spread_over_the_set(run, dataset):
    report = report_of(run(dataset, "--max-slices", 4, "--json", "--quiet")[1])
    assert (report["looked_at"], report["pairs"]) == (4, PAIRS)
    assert report["images"]["flair"]["images"] == 4
    assert report["balance"]["pairs"] == PAIRS
    assert "4 of 12 pairs" in report["notes"][0]


def test_an_export_of_lesions_alone_is_told_what_means_nothing_there(run, dataset, tmp_path):
    export([dataset], tmp_path, 600, "lesions", "tumour", reporter=quiet())
    notes = report_of(run(tmp_path / "Dataset600_lesions", "--json", "--quiet")[1])["notes"]
    assert any("need not cover the brain" in note for note in notes)
    assert not any("need not cover" in note for note in report_of(run(dataset, "--json", "--quiet")[1])["notes"])


def test_real_cases_of_an_export_are_left_out_with_a_word(run, dataset):
    manifest = dataset / "brainspade" / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[0]["came_from"] = {"dataset": "Dataset001_real", "case": "a", "real": True}
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = report_of(run(dataset, "--json", "--quiet")[1])
    assert report["pairs"] == PAIRS - 1
    assert "Real cases that an export merged in (1) were left out." in report["notes"]


def test_the_same_seed_gives_the_same_report(run, dataset, slice_folder):
    first, second, other = (
        report_of(run(dataset, "--against", slice_folder, "--json", "--quiet", "--seed", seed)[1]) for seed in (1, 1, 2)
    )
    assert first == second
    assert first["labels"]["distance"]["summary"]["value"] == other["labels"]["distance"]["summary"]["value"]
    assert first["labels"]["distance"]["summary"]["low"] != other["labels"]["distance"]["summary"]["low"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--split", "test"], "no split 'test'"),
        (["--population", "old"], "no population 'old'"),
        (["--style", "absent.nii.gz"], "no style scan absent.nii.gz"),
        (["--against", "absent"], "absent is not a slice set"),
    ],
)
def test_bad_arguments_end_in_one_sentence(run, dataset, arguments, sentence):
    code, out, error = run(dataset, *arguments)
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sentence in error


def test_datasets_that_cannot_be_compared_are_refused(run, dataset, tmp_path, slice_folder):
    assert run(tmp_path / "absent")[0] == 2
    assert "the dataset itself" in run(dataset, "--against", dataset)[2]
    labels = {"background": 0, "lesion": 1}
    other = real_set(tmp_path / "other", labels=labels, values={value: int(value > 5) for value in range(1, 8)})
    assert "same labels" in run(dataset, "--against", other)[2]
    volumes = real_set(tmp_path / "volumes", channels=("flair",))
    assert "no single" in run(dataset, "--against", volumes)[2]
    change_json(dataset, numTraining=3)
    code, _, error = run(dataset, "--against", slice_folder)
    assert code == 2
    assert "3 cases" in error


def test_a_damaged_slice_is_named(run, dataset):
    path = dataset / "imagesTr" / f"{case_name(3)}_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:500])
    code, out, error = run(dataset)
    assert (code, out) == (2, "")
    assert path.name in error


def test_real_slices_that_are_no_numbers_are_refused(run, dataset, tmp_path, slice_folder):
    shutil.copytree(slice_folder, tmp_path / "slices")
    for path in (tmp_path / "slices").glob("scans/*/flair.npy"):
        images = np.load(path)
        images[:, 90, 120] = np.inf
        np.save(path, images)
    code, _, error = run(dataset, "--against", tmp_path / "slices")
    assert code == 2
    assert "flair.npy holds NaN or infinite values" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e38])
def test_pixels_beyond_all_measure_are_refused(run, dataset, value):
    """Their squares are infinite, and so would every figure be that they enter."""
    path = dataset / "imagesTr" / f"{case_name(3)}_0000.nii.gz"
    image = nib.load(path)
    pixels = np.asarray(image.dataobj, np.float32)
    pixels[100, 100] = value
    nib.save(nib.Nifti1Image(pixels, image.affine), path)
    code, out, error = run(dataset)
    assert (code, out) == (2, "")
    assert f"{path.name} does not fit its label, or holds pixels that are no numbers" in error


def test_slices_of_other_sizes_are_refused(run, tmp_path):
    folder = made_dataset(tmp_path / "Dataset501_brainspade", pairs=3)
    layout = RawLayout(folder, NIFTI)
    images, label = phantom(1)
    write_case(layout, case_name(2), images[:, :100], label[:100])
    code, _, error = run(folder)
    assert code == 2
    assert "differ in size" in error
