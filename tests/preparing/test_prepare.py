import csv
import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from brainspade_cli import slices
from brainspade_cli.anatomy import BRAINSTEM, CHANNELS, DEEP_GM, OEDEMA, TUMOUR
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, SliceSetError
from brainspade_cli.geometry import SLICE_SHAPE
from brainspade_cli.preparing.prepare import prepare
from brainspade_cli.preparing.registration import Template, centring
from brainspade_cli.preparing.scan import prepare_scan
from brainspade_cli.preparing.scan_table import ScanFiles, find_scans
from brainspade_cli.slices import BACKGROUND_VALUE, create_slice_set, open_slice_set, remove_scan
from tests.phantoms import affine_of, save, t1_of, tissue_phantom

QUIET = Reporter(quiet=True)
SPACING = (2.0, 2.0, 2.0)


def region_phantom(labels):
    """FreeSurfer numbers on both sides, with a thalamus, a brainstem and some skin."""
    left = np.arange(labels.shape[0])[:, None, None] < labels.shape[0] // 2
    regions = np.where(left, np.array([0, 24, 3, 2])[labels], np.array([0, 24, 42, 41])[labels]).astype(np.int16)
    middle = [n // 2 for n in labels.shape]
    regions[middle[0] + 4 : middle[0] + 12, middle[1] : middle[1] + 10, middle[2] - 4 : middle[2] + 4] = 10
    regions[middle[0] - 5 : middle[0] + 5, middle[1] - 8 : middle[1], : middle[2] - 8][
        labels[middle[0] - 5 : middle[0] + 5, middle[1] - 8 : middle[1], : middle[2] - 8] > 0
    ] = 16
    regions[0, 0, :] = 512
    return regions


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    labels = tissue_phantom()
    save(folder / "atlas/sub-01/regions.nii.gz", region_phantom(labels), axes="LIA")
    save(folder / "clinic/sub-01/flair.nii.gz", t1_of(labels), axes="LPS")
    (folder / "clinic/sub-01/run-2_flair.nii.gz").touch()
    save(folder / "clinic/sub-02/t1.nii.gz", np.zeros((5, 5, 5), np.int16))
    maps = np.zeros((*labels.shape, CHANNELS), np.float32)
    for tissue in range(4):
        maps[..., tissue] = labels == tissue
    lesion = np.zeros(labels.shape, bool)
    lesion[20:30, 40:52, 25:40] = labels[20:30, 40:52, 25:40] > 0
    maps[lesion] = 0
    maps[lesion, TUMOUR], maps[lesion, OEDEMA] = 0.75, 0.25
    image = nib.Nifti1Image(maps, affine_of(labels.shape, SPACING))
    (folder / "own/sub-01").mkdir(parents=True)
    nib.save(image, folder / "own/sub-01/pv.nii.gz")
    save(folder / "own/sub-01/t1.nii.gz", t1_of(labels))
    broken = maps.copy()
    broken[30, 30, 30, 1] = 0.7
    (folder / "own/sub-02").mkdir()
    nib.save(nib.Nifti1Image(broken, image.affine), folder / "own/sub-02/pv.nii.gz")
    save(folder / "own/sub-02/t1.nii.gz", t1_of(labels))
    return folder


@pytest.fixture(scope="module")
def prepared(scans, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "slices"
    summary = prepare(scans, out, register=False, held_out=["sub-02"], jobs=1, reporter=QUIET)
    return out, summary


def test_every_scan_is_accounted_for(prepared):
    out, summary = prepared
    assert (summary["labelled"], summary["style only"], summary["refused"]) == (2, 2, 1)
    trained = {scan.population for scan in open_slice_set(out).select() if scan.has_labels}
    assert summary["populations"] == sorted(trained) == ["healthy", "tumour"]
    with open(out / "report.tsv", newline="") as handle:
        report = {row["scan"]: row for row in csv.DictReader(handle, delimiter="\t")}
    assert report["clinic-sub-01"]["message"].startswith("Left aside for others of their kind: run-2_flair.nii.gz.")
    assert "all zero" in report["clinic-sub-02"]["message"]
    assert "do not sum to 1" in report["own-sub-02"]["message"]
    assert report["own-sub-02"]["status"] == "style only"
    assert [scan.name for scan in open_slice_set(out).scans] == [
        "atlas-sub-01",
        "clinic-sub-01",
        "own-sub-01",
        "own-sub-02",
    ]


def test_labels_are_whole_maps_in_place(prepared):
    slices = open_slice_set(prepared[0])
    scan = next(scan for scan in slices.scans if scan.name == "atlas-sub-01")
    maps = slices.labels(scan)
    assert maps.shape[1:] == (CHANNELS, *SLICE_SHAPE)
    assert (maps.astype(int).sum(axis=1) == 255).all()
    assert (maps[:, DEEP_GM] > 200).any()
    assert (maps[:, BRAINSTEM] > 200).any()
    assert scan.modalities == ()
    assert scan.population == "healthy"
    assert min(scan.brain_pixels) >= 0.1 * SLICE_SHAPE[0] * SLICE_SHAPE[1]
    assert scan.positions == tuple(sorted(scan.positions))


def test_image_and_labels_lie_over_the_same_anatomy(prepared):
    slices = open_slice_set(prepared[0])
    scan = next(scan for scan in slices.scans if scan.name == "own-sub-01")
    images, maps = slices.images(scan, "t1").astype(np.float32), slices.labels(scan)
    brain = maps[:, 0] < 128
    assert ((images > BACKGROUND_VALUE) == brain).mean() > 0.995
    white, grey, fluid = (images[maps[:, channel] > 250].mean() for channel in (3, 2, 1))
    assert white > grey > fluid
    assert scan.population == "tumour"
    assert max(scan.tumour_pixels) == pytest.approx(20 * 24, rel=0.15)
    assert max(scan.lesion_load) == pytest.approx(max(scan.tumour_pixels) / 16000, rel=0.2)


def test_a_second_run_keeps_what_is_unchanged_and_a_changed_split_is_taken_up(prepared, scans):
    out, _ = prepared
    record = out / "scans/own-sub-01/scan.json"
    before = record.stat().st_mtime_ns
    again = prepare(scans, out, register=False, held_out=["sub-02"], jobs=1, reporter=QUIET)
    assert again["unchanged"] == 4
    assert record.stat().st_mtime_ns == before
    assert next(s for s in open_slice_set(out).scans if s.name == "own-sub-02").split == "held-out"


def test_slices_outlive_a_scan_that_cannot_be_read_now(prepared, scans, tmp_path):
    """A share that is down for an hour must not cost what took hours to align."""
    out = tmp_path / "slices"
    shutil.copytree(prepared[0], out)
    scan = next(scan for scan in find_scans(scans) if scan.name == "clinic-sub-01")
    outcome = prepare_scan(replace(scan, images={"flair": tmp_path / "gone/flair.nii.gz"}), out, False, None)
    assert outcome.status == "refused"
    assert "slices from before are kept" in outcome.message
    assert (out / "scans/clinic-sub-01/scan.json").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    "harmed",
    [
        {
            "own-sub-01/labels.npy": cut,
            "clinic-sub-01/flair.npy": lambda path: np.save(path, np.zeros((3, 4))),
            "atlas-sub-01/labels.npy": lambda path: path.write_bytes(b""),
        },
        {"own-sub-01/t1.npy": lambda path: path.unlink()},
        {"own-sub-01/scan.json": lambda path: path.write_text(path.read_text().replace('"tumour"', '"healed"'))},
    ],
)
def test_damaged_scans_of_a_set_are_told_and_prepared_again(prepared, scans, tmp_path, capsys, harmed):
    out = tmp_path / "slices"
    shutil.copytree(prepared[0], out)
    for name, harm in harmed.items():
        harm(out / "scans" / name)
    prepare(scans, out, register=False, held_out=["sub-02"], jobs=1, reporter=Reporter())
    said = capsys.readouterr().err
    for name in harmed:
        assert f"{name.split('/')[0]} was damaged" in said
    for path in sorted(prepared[0].glob("scans/*/*")):
        assert (out / path.relative_to(prepared[0])).read_bytes() == path.read_bytes(), path


def test_a_damaged_scan_that_is_not_listed_leaves_the_set_and_keeps_its_arrays(prepared, scans, tmp_path, capsys):
    out, fewer = tmp_path / "slices", tmp_path / "scans"
    shutil.copytree(prepared[0], out)
    shutil.copytree(scans, fewer)
    shutil.rmtree(fewer / "clinic")
    cut(out / "scans/clinic-sub-01/flair.npy")
    prepare(fewer, out, register=False, held_out=["sub-02"], jobs=1, reporter=Reporter())
    assert "does not list it" in capsys.readouterr().err
    assert "clinic-sub-01" not in [scan.name for scan in open_slice_set(out).scans]
    assert (out / "scans/clinic-sub-01/flair.npy").exists()


def test_a_scan_that_cannot_be_read_now_stays_in_the_set(prepared, tmp_path, monkeypatch):
    out = tmp_path / "slices"
    shutil.copytree(prepared[0], out)

    def down(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(slices, "require_plain", down)
    assert slices.forget_damaged(out) == {}
    assert len(list(out.glob("scans/*/scan.json"))) == 3 + 1


def test_the_contact_sheet_shows_every_scan(prepared):
    from PIL import Image

    out, summary = prepared
    assert len(summary["contact_sheets"]) == 1
    sheet = np.asarray(Image.open(out / "contact-sheet-01.png"))
    rows_of_pictures = 1 + 1 + 2 + 1
    assert sheet.shape[0] == rows_of_pictures * SLICE_SHAPE[1] // 2
    assert (sheet.reshape(rows_of_pictures, -1).max(axis=1) > 100).all()


def test_other_folders_and_useless_sources_are_left_alone(tmp_path, scans):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SliceSetError, match="not a slice set"):
        prepare(scans, tmp_path, register=False, held_out=(), jobs=1, reporter=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="None of the 1 scans"):
        prepare(scans / "clinic/sub-02", tmp_path / "new", register=False, held_out=(), jobs=1, reporter=QUIET)


def test_a_slice_set_of_another_version_is_refused(prepared, tmp_path):
    header = json.loads((prepared[0] / "slice-set.json").read_text())
    (tmp_path / "slice-set.json").write_text(json.dumps({**header, "format": 99}))
    with pytest.raises(SliceSetError, match="another format"):
        open_slice_set(tmp_path)
    with pytest.raises(SliceSetError, match="brainspade prepare"):
        open_slice_set(tmp_path / "nothing")


def test_a_set_that_was_cut_off_at_its_very_start_is_gone_on_with(tmp_path, scans):
    (tmp_path / ".0123abcd.partial.slice-set.json").write_text("{")
    create_slice_set(tmp_path)
    assert open_slice_set(tmp_path).scans == ()


def test_a_scan_that_was_being_removed_is_no_part_of_the_set(prepared, tmp_path, monkeypatch):
    """Killed after the first file: the record goes first, so that no record is left without its arrays."""
    shutil.copytree(prepared[0], tmp_path / "set")
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    remove_scan(tmp_path / "set/scans/own-sub-01")
    assert "own-sub-01" not in [scan.name for scan in open_slice_set(tmp_path / "set").scans]
    assert (tmp_path / "set/scans/own-sub-01/labels.npy").exists()


def test_channels_are_aligned_where_scans_are(tmp_path, monkeypatch):
    """Only the second channel moves, by what was found for it, and the outcome says so."""
    image = t1_of(tissue_phantom())
    files = {name: save(tmp_path / f"in/sub-01/{name}.nii.gz", image) for name in ("flair", "t2")}
    scan = ScanFiles("sub-01", "clinic", "sub-01", "train", files)
    apart = np.eye(4)
    apart[1, 3] = 4.0
    monkeypatch.setattr(Template, "align", lambda self, moving, affine, path: centring(moving > 0, affine))
    monkeypatch.setattr("brainspade_cli.preparing.scan.align_channel", lambda *_: (apart, "t2 was moved."))
    out = tmp_path / "slices"
    create_slice_set(out)
    for register, shift in ((True, -4), (False, 0)):
        outcome = prepare_scan(scan, out, register, None)
        assert ("t2 was moved." in outcome.message) == register
        record = open_slice_set(out).scans[0]
        flair, t2 = (open_slice_set(out).images(record, name)[40].astype(np.float32) for name in ("flair", "t2"))
        middle = np.s_[60:130, 90:160]
        apart_by = {s: np.abs(t2 - np.roll(flair, s, axis=1))[middle].mean() for s in (-4, 0, 4)}
        assert min(apart_by, key=apart_by.get) == shift


def test_a_channel_that_does_not_show_the_whole_brain_costs_slices_or_is_left_out(tmp_path):
    """What it does not show is zero on the grid, and no tissue."""
    create_slice_set(tmp_path)
    image = t1_of(tissue_phantom())
    kept = {}
    for name, cut in (("whole", 0), ("low", 15), ("padded", 15), ("half", 30)):
        files = {"t1": save(tmp_path / f"in/{name}/t1.nii.gz", image)}
        affine = affine_of(image.shape, SPACING)
        affine[:3, 3] += affine[:3, :3] @ [0, 0, cut]
        files["flair"] = tmp_path / f"in/{name}/flair.nii.gz"
        nib.save(nib.Nifti1Image(image[:, :, cut:], affine), files["flair"])
        if name == "padded":
            empty = image.copy()
            empty[:, :, :cut] = 0
            save(files["flair"], empty)
        outcome = prepare_scan(ScanFiles(name, "clinic", name, "train", files), tmp_path, False, None)
        kept[name] = next(scan for scan in open_slice_set(tmp_path).scans if scan.subject == name)
        assert ("flair.nii.gz shows too little of the brain" in outcome.message) == (name == "half")
        assert ("slices are left out, which not all channels show" in outcome.message) == (name in ("low", "padded"))
    assert [record.modalities for record in kept.values()] == [("flair", "t1")] * 3 + [("t1",)]
    whole, low, padded, half = kept.values()
    assert padded.positions == low.positions
    assert half.positions == whole.positions
    assert set(low.positions) < set(whole.positions)
    slices = open_slice_set(tmp_path)
    t1, flair = (slices.images(low, name).astype(np.float32) for name in ("t1", "flair"))
    brain = t1 > BACKGROUND_VALUE
    assert (flair > BACKGROUND_VALUE)[brain].mean() > 0.99
    # Of one scan, so alike but for what each is z-scored over.
    assert np.corrcoef(t1[brain], flair[brain])[0, 1] > 0.99
    assert flair[brain].std() > 0.5


def test_nobody_comes_to_both_sides_with_scans_of_an_earlier_run(scans, tmp_path):
    """Two visits of a person, prepared one after the other with another split."""
    for visit in ("a", "b"):
        shutil.copytree(scans / "own/sub-01", tmp_path / f"{visit}/own/sub-01/ses-{visit}")
    out = tmp_path / "slices"
    prepare(tmp_path / "a/own", out, register=False, held_out=["sub-01"], jobs=1, reporter=QUIET)
    with pytest.raises(InputError, match=r"sub-01 would be in training and held out: .* earlier runs"):
        prepare(tmp_path / "b/own", out, register=False, held_out=(), jobs=1, reporter=QUIET)
    prepare(tmp_path / "b/own", out, register=False, held_out=["own/sub-01"], jobs=1, reporter=QUIET)
    assert [scan.split for scan in open_slice_set(out).scans] == ["held-out"] * 2
    # The report keeps what became of the scans of earlier runs.
    rows = [line.split("\t") for line in (out / "report.tsv").read_text().splitlines()]
    assert [row[:2] for row in rows[1:]] == [["own-sub-01-ses-a", "labelled"], ["own-sub-01-ses-b", "labelled"]]
    prepare(tmp_path / "b/own", out, register=False, held_out=["sub-01"], jobs=1, reporter=QUIET)
    assert [line.split("\t") for line in (out / "report.tsv").read_text().splitlines()] == rows


def test_a_stripped_scan_below_zero_is_handed_over_above_it(tmp_path, monkeypatch):
    """ANTs and the check of its result take zero for what is outside the brain."""
    image = t1_of(tissue_phantom())
    scored = np.where(image > 0, (image - 90) / 40, 0).astype(np.float32)
    handed = {}

    def align(self, moving, affine, path):
        handed[path.parent.name] = moving
        return centring(moving != 0, affine)

    monkeypatch.setattr(Template, "align", align)
    create_slice_set(tmp_path / "slices")
    for name, data in (("plain", image), ("scored", scored)):
        files = {"t1": save(tmp_path / f"in/{name}/t1.nii.gz", data)}
        prepare_scan(ScanFiles(name, "clinic", name, "train", files), tmp_path / "slices", True, None)
    assert (handed["plain"] == image).all()
    assert ((handed["scored"] > 0) == (image > 0)).mean() > 0.999


def test_a_lesion_that_is_the_whole_brain_costs_one_scan_and_no_more(scans, tmp_path):
    shutil.copytree(scans / "atlas", tmp_path / "in/atlas")
    labels = tissue_phantom()
    save(tmp_path / "in/own/sub-03/t1.nii.gz", t1_of(labels))
    save(tmp_path / "in/own/sub-03/tumour.nii.gz", np.ones(labels.shape, np.uint8))
    summary = prepare(tmp_path / "in", tmp_path / "out", register=False, held_out=(), jobs=1, reporter=QUIET)
    assert (summary["labelled"], summary["style only"]) == (1, 1)
    report = (tmp_path / "out/report.tsv").read_text()
    assert "own-sub-03\tstyle only" in report
    assert "no brain is left" in report
    # Its lesion is labelled, and nobody's regions tell its tissues.
    shutil.rmtree(tmp_path / "in/atlas")
    prepare(tmp_path / "in/own/sub-03", tmp_path / "alone", register=False, held_out=(), jobs=1, reporter=QUIET)
    assert "style only\tIts tumour is labelled and its tissues are not" in (tmp_path / "alone/report.tsv").read_text()
