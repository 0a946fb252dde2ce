from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlcroissant
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainspade_cli.bundle_config import Solver
from brainspade_cli.bundle_update import copy_bundle, create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.errors import BrainspadeError, DatasetError, InputError
from brainspade_cli.nnunet.check import check
from brainspade_cli.nnunet.planes import read_plane
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.reporting.write_cards import card_paths
from brainspade_cli.sampling import case_writer, generate, label_blocks, run_preview
from brainspade_cli.sampling import sample as sampling
from brainspade_cli.sampling.generate import Pair
from brainspade_cli.sampling.manifest import rows
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.sampling.preview import PreviewRow, preview_sheet
from brainspade_cli.sampling.run import PAIRS_VERSION
from brainspade_cli.sampling.run_folder import write_run
from brainspade_cli.sampling.run_preview import spread_over_height
from brainspade_cli.sampling.sample import SampleRequest, run_sampling
from brainspade_cli.sampling.shards import Shard
from brainspade_cli.weights import open_bundle
from tests.phantoms import save
from tests.sampling.parts import ellipse_label, one_hot_maps, quiet, style_scan, tiny_bundle

PAIRS = 10


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights/ and two style scans of one subject."""
    folder = tmp_path_factory.mktemp("parts")
    tiny_bundle(folder / "weights")
    style_scan(folder / "scans" / "sub-secret" / "sub-1_T1w.nii.gz")
    style_scan(folder / "scans" / "sub-secret" / "sub-1_FLAIR.nii.gz", seed=1)
    return folder


@pytest.fixture(autouse=True)
def _pass_all_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks make no brains; redrawing is tested with the blocks."""
    monkeypatch.setattr(label_blocks, "label_problems", lambda label, lesion: ())


@pytest.fixture
def request_for(parts: Path, tmp_path: Path) -> Callable[..., SampleRequest]:
    def make(name: str = "Dataset501_brainspade", **changes: Any) -> SampleRequest:
        plan = PairPlan(seed=1, tumour=True, tumour_fraction=0.5, steps=1)
        settings: dict[str, Any] = {
            "styles": (str(parts / "scans"),),
            "pairs": PAIRS,
            "folder": tmp_path / name,
            "plan": plan,
            "weights": str(parts / "weights"),
            "device": "cpu",
            "precision": "fp32",
        }
        return SampleRequest(**{**settings, **changes})

    return make


@pytest.fixture(scope="module")
def finished(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `PAIRS` pairs that nothing disturbed, to compare with."""
    folder = tmp_path_factory.mktemp("finished") / "Dataset501_brainspade"
    plan = PairPlan(seed=1, tumour=True, tumour_fraction=0.5, steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_blocks, "label_problems", lambda label, lesion: ())
        styles, weights = (str(parts / "scans"),), str(parts / "weights")
        run_sampling(SampleRequest(styles, PAIRS, folder, plan, weights, device="cpu", precision="fp32"), quiet())
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Images and labels of a dataset, by name."""
    files = [*(folder / "imagesTr").iterdir(), *(folder / "labelsTr").iterdir()]
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}


def interrupt_after(monkeypatch: pytest.MonkeyPatch, pairs: int, error: BaseException) -> None:
    """Raise `error` in the run's own thread when it hands over pair number `pairs`."""
    write, count = case_writer.CaseWriter.write, iter(range(10_000))

    def counted(self: case_writer.CaseWriter, pair: Pair) -> None:
        if next(count) == pairs:
            raise error
        write(self, pair)

    monkeypatch.setattr(case_writer.CaseWriter, "write", counted)


def captured_captions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that the captions of the next previews' rows go to, in their order."""
    captions: list[str] = []

    def sheet(rows: Sequence[PreviewRow]) -> Image.Image:
        captions.extend(row.caption for row in rows)
        return preview_sheet(rows)

    monkeypatch.setattr(run_preview, "preview_sheet", sheet)
    return captions


def test_a_run_makes_a_dataset_that_nnunet_takes(finished: Path) -> None:
    assert check(finished, quiet()) == []
    header = json.loads((finished / "dataset.json").read_text())
    assert header["channel_names"] == {"0": "t1", "1": "flair"}
    assert header["numTraining"] == PAIRS
    assert header["labels"]["oedema"] == 7
    image = nib.load(finished / "imagesTr" / "brainspade_0000003_0001.nii.gz")
    label = nib.load(finished / "labelsTr" / "brainspade_0000003.nii.gz")
    assert image.shape == label.shape == (192, 256, 1)
    assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
    assert (image.affine == label.affine).all()
    assert (finished / "brainspade" / "preview.png").stat().st_size > 10_000


def test_a_run_comes_with_a_card_and_a_croissant_that_fit_it(finished: Path) -> None:
    card, description = card_paths(finished)
    command = "brainspade sample --style t1=sub-1_T1w.nii.gz flair=sub-1_FLAIR.nii.gz --n 10 --seed 1 --tumour"
    for words in (
        command,
        "10 (10 synthetic, 0 real)",
        "| with a lesion (synthetic pairs: one asked for) | 5 |",
        "synthetic",
        "- weights: tiny (weights)",
    ):
        assert words in card.read_text()
    dataset = mlcroissant.Dataset(str(description))
    assert not dataset.metadata.issues.errors
    records = {record["cases/case"].decode(): record for record in dataset.records("cases")}
    assert len(records) == PAIRS
    row = next(row for row in rows(RawLayout(finished, ".nii.gz")) if row["index"] == 3)
    record = records[row["case"]]
    assert bool(record["cases/lesion"]) is row["lesion"]
    assert [str(file.decode() if isinstance(file, bytes) else file) for file in record["cases/files"]] == row["files"]


def test_the_manifest_tells_how_each_pair_came_about(finished: Path) -> None:
    listed = {row["index"]: row for row in rows(RawLayout(finished, ".nii.gz"))}
    assert sorted(listed) == list(range(PAIRS))
    assert [listed[index]["lesion"] for index in range(4)] == [False, True, False, True]
    row = listed[7]
    assert (row["case"], row["seed"], row["attempts"], row["problems"]) == ("brainspade_0000007", 1, 1, [])
    label = nib.load(finished / row["files"][-1])
    counts = np.bincount(np.asarray(label.dataobj).ravel().astype(int), minlength=8)
    assert list(row["pixels"].values()) == counts.tolist()
    assert label.affine[2, 3] == pytest.approx(row["position_mm"], abs=1e-3)
    assert [style["channel"] for style in row["styles"]] == ["t1", "flair"]
    with_oedema = [row["oedema_contrast"] for row in listed.values() if row["pixels"]["oedema"]]
    assert min(with_oedema) < 1
    assert max(with_oedema) == 1
    assert all(len(row["spot_pixels"]) == 2 for row in listed.values())
    assert max(max(row["spot_pixels"]) for row in listed.values()) > 0
    assert all((finished / file).is_file() for file in row["files"])


def test_provenance_names_files_and_hashes_and_no_folders(finished: Path, parts: Path) -> None:
    run = json.loads((finished / "brainspade" / "run.json").read_text())
    assert run["settings"]["seed"] == 1
    assert run["settings"]["steps"] == 1
    assert set(run["weights"]["sha256"]) >= {"config.json", "spade_generator.safetensors"}
    assert [style["name"] for style in run["styles"]] == ["sub-1_T1w.nii.gz", "sub-1_FLAIR.nii.gz"]
    assert run["made_with"]["torch"]
    assert run["totals"]["lesions"] == PAIRS // 2
    for path in [*(finished / "brainspade").glob("*.json*"), *card_paths(finished)]:
        assert "sub-secret" not in path.read_text()
        assert str(parts.parent) not in path.read_text()


def test_shards_make_the_same_dataset_and_the_last_one_finishes_it(
    finished: Path, request_for: Callable[..., SampleRequest]
) -> None:
    second = run_sampling(request_for(shard=Shard(1, 2)), quiet())
    assert (second["made"], second["missing"], second["complete"]) == (2, 8, False)
    assert not (request_for().folder / "dataset.json").exists()
    first = run_sampling(request_for(shard=Shard(0, 2)), quiet())
    assert (first["made"], first["complete"]) == (8, True)
    assert contents(request_for().folder) == contents(finished)
    for path, same in zip(card_paths(request_for().folder), card_paths(finished), strict=True):
        assert path.read_bytes() == same.read_bytes()
    assert (request_for().folder / "dataset.json").read_bytes() == (finished / "dataset.json").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrainspadeError("stopped")])
def test_an_interrupted_run_goes_on_and_makes_nothing_twice(
    finished: Path,
    request_for: Callable[..., SampleRequest],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> None:
    stopped: list[generate.Painter] = []
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3, error)
        stop = generate.Painter.stop
        patch.setattr(generate.Painter, "stop", lambda self: stopped.append(self) or stop(self))
        with pytest.raises(type(error)) as caught:
            run_sampling(request_for(), sampling.Reporter())
    # Now, and not when the error is forgotten: until then its frames keep the generator, and that its threads at work.
    assert len(stopped) == 1
    assert caught.value is error
    if isinstance(error, KeyboardInterrupt):
        assert "3 of 10 pairs are finished" in capsys.readouterr().err
    folder = request_for().folder
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*Tr/*")}
    assert len(before) == 3 * 3
    summary = run_sampling(request_for(), quiet())
    assert (summary["made"], summary["there_before"]) == (PAIRS - 3, 3)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert contents(folder) == contents(finished)
    assert [path.read_bytes() for path in card_paths(folder)] == [path.read_bytes() for path in card_paths(finished)]
    again = run_sampling(request_for(), quiet())
    assert (again["made"], again["complete"]) == (0, True)


def test_what_an_interrupted_wait_for_the_disk_was_for_is_recorded(
    finished: Path, request_for: Callable[..., SampleRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def interrupted(futures: list[object]) -> object:
        waits.append(futures)
        if len(waits) == 2:
            raise KeyboardInterrupt
        return wait(futures)  # type: ignore[type-var]

    with monkeypatch.context() as patch:
        patch.setattr(case_writer, "QUEUE", 2)
        patch.setattr(case_writer, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_sampling(request_for(), quiet())
    folder = request_for().folder
    whole = sorted(path.name.split(".")[0] for path in (folder / "labelsTr").iterdir())
    manifest = folder / "brainspade" / "manifest.jsonl"
    assert [json.loads(line)["case"] for line in manifest.read_text().splitlines()] == whole
    assert len(whole) < PAIRS
    summary = run_sampling(request_for(), quiet())
    assert summary["there_before"] == len(whole)
    assert contents(folder) == contents(finished)


@pytest.mark.parametrize("file", ["labelsTr/brainspade_{:07d}.nii.gz", "imagesTr/brainspade_{:07d}_0000.nii.gz"])
def test_a_pair_that_was_damaged_later_is_named_with_the_way_to_have_it_made_anew(
    finished: Path, request_for: Callable[..., SampleRequest], file: str
) -> None:
    folder = request_for().folder
    shutil.copytree(finished, folder)
    previewed = spread_over_height(rows(RawLayout(folder, ".nii.gz")))
    name = file.format(previewed[0])
    missing = next(index for index in range(PAIRS) if index not in previewed)
    (folder / name).write_bytes((finished / name).read_bytes()[:200])
    (folder / "labelsTr" / f"brainspade_{missing:07d}.nii.gz").unlink()
    with pytest.raises(DatasetError, match=f"{name} was damaged .* delete it and give the same command again"):
        run_sampling(request_for(), quiet())
    (folder / name).unlink()
    run_sampling(request_for(), quiet())
    assert contents(folder) == contents(finished)


def test_what_a_kill_leaves_is_mended(
    finished: Path, request_for: Callable[..., SampleRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = request_for().folder
    shutil.copytree(finished, folder)
    (folder / "labelsTr" / "brainspade_0000004.nii.gz").unlink()
    leftover = folder / "imagesTr" / ".brainspade_0000004_0000.nii.gz.99.partial"
    leftover.write_bytes(b"half")
    manifest = folder / "brainspade" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    verdicts = ("audit.json", "audit-slices.tsv", "evaluation.json", "audit/0001.png", "audit/notes.txt")
    (folder / "brainspade" / "audit").mkdir()
    for name in verdicts:
        (folder / "brainspade" / name).touch()
    summary = run_sampling(request_for(), Reporter())
    assert summary["made"] == 2
    told = "for the dataset changes: audit.json, audit-slices.tsv, evaluation.json, audit/."
    assert told in " ".join(capsys.readouterr().err.split())
    assert not leftover.exists()
    assert contents(folder) == contents(finished)
    # What was found of fewer pairs goes; what somebody else put there stays.
    assert [name for name in verdicts if (folder / "brainspade" / name).exists()] == ["audit/notes.txt"]
    indices = [json.loads(line)["index"] for line in manifest.read_text().splitlines()]
    assert sorted(indices) == list(range(PAIRS))
    card, description = card_paths(folder)
    assert mlcroissant.Dataset(str(description)).metadata.issues.errors == set()
    assert "| with a lesion (synthetic pairs: one asked for) | 5 |" in card.read_text()


def test_a_style_edited_in_the_manifest_does_not_cost_the_run_its_end(
    finished: Path, request_for: Callable[..., SampleRequest]
) -> None:
    """Its pair is previewed without one."""
    folder = request_for().folder
    shutil.copytree(finished, folder)
    manifest = folder / "brainspade" / "manifest.jsonl"
    edited = list(rows(RawLayout(folder, ".nii.gz")))
    previewed = spread_over_height(edited)[0]
    for row in edited:
        if row["index"] == previewed:
            row["styles"][0]["channel"] = "none"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in edited))
    (folder / "dataset.json").unlink()
    assert run_sampling(request_for(), quiet())["complete"]
    assert (folder / "brainspade" / "preview.png").stat().st_size > 1000


def test_more_pairs_go_on_from_fewer(finished: Path, request_for: Callable[..., SampleRequest]) -> None:
    run_sampling(request_for(pairs=3), quiet())
    assert json.loads((request_for().folder / "dataset.json").read_text())["numTraining"] == 3
    summary = run_sampling(request_for(), quiet())
    assert (summary["made"], summary["there_before"]) == (PAIRS - 3, 3)
    assert contents(request_for().folder) == contents(finished)
    with pytest.raises(DatasetError, match="ask for as many or more"):
        run_sampling(request_for(pairs=3), quiet())


def test_while_pairs_are_missing_there_is_no_dataset_json(
    request_for: Callable[..., SampleRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sampling(request_for(pairs=2), quiet())
    interrupt_after(monkeypatch, 1, BrainspadeError("stopped"))
    with pytest.raises(BrainspadeError, match="stopped"):
        run_sampling(request_for(), quiet())
    assert not (request_for().folder / "dataset.json").exists()
    assert not any(path.exists() for path in card_paths(request_for().folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": PairPlan(seed=2, tumour=True, tumour_fraction=0.5, steps=1)}, "seed 1, now 2"),
        ({"plan": PairPlan(seed=1, tumour=True, tumour_fraction=0.5, sampler="ddim", steps=1)}, "sampler"),
        (
            {"plan": PairPlan(seed=1, tumour=True, tumour_fraction=0.5, steps=1, faint_fraction=0.2)},
            "faint fraction 0.5, now 0.2",
        ),
        ({"styles": ("@t2",)}, "other styles"),
        ({"precision": "bf16"}, "precision fp32, now bf16"),
        ({"file_format": "png"}, "format nifti, now png"),
        ({"save_pv": True}, "save pv off, now on"),
    ],
)
def test_a_folder_begun_otherwise_is_refused_and_the_difference_said(
    finished: Path, request_for: Callable[..., SampleRequest], changes: dict[str, Any], message: str
) -> None:
    before = contents(finished)
    with pytest.raises(DatasetError, match=message):
        run_sampling(replace(request_for(**changes), folder=finished), quiet())
    assert contents(finished) == before


def test_a_run_goes_on_with_the_sampler_that_it_was_begun_with(
    request_for: Callable[..., SampleRequest], parts: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    copy_bundle(open_bundle(str(parts / "weights")), weights)

    def settle(timestep: int) -> None:
        solver = Solver((timestep,), ((0.1, 1.0),))
        create_or_update_bundle(weights, config_updates={"solvers": {"tumour": solver}}, networks={})

    plan = PairPlan(seed=1, tumour=True, tumour_fraction=0.5)
    run_sampling(request_for(pairs=1, plan=replace(plan, steps=1), weights=str(weights)), quiet())
    settle(700)
    # One step is now that of the weights' own sampler.
    with pytest.raises(DatasetError, match=r"with sampler unipc, now fitted\. To go on, .*run\.json"):
        run_sampling(request_for(pairs=2, plan=plan, weights=str(weights)), quiet())
    plain = replace(plan, sampler="unipc", steps=1)
    assert run_sampling(request_for(pairs=2, plan=plain, weights=str(weights)), quiet())["made"] == 1
    own = request_for("own", pairs=1, plan=plan, weights=str(weights))
    assert run_sampling(own, quiet())["made"] == 1
    assert run_sampling(replace(own, pairs=2), quiet())["made"] == 1
    settle(600)
    with pytest.raises(DatasetError, match=r"begun with other solver\."):
        run_sampling(replace(own, pairs=3), quiet())


def test_given_labels_need_no_sampler(request_for: Callable[..., SampleRequest], tmp_path: Path) -> None:
    save(tmp_path / "own" / "a.nii.gz", ellipse_label()[:, :, None], (1.0, 1.0, 1.0))
    request = request_for(pairs=1, plan=PairPlan(sampler="fitted"), labels=tmp_path / "own")
    summary = run_sampling(replace(request, dry_run=True), quiet())
    assert (summary["sampler"], summary["steps"]) == (None, None)
    assert run_sampling(request, quiet())["made"] == 1


def test_scans_moved_so_that_others_go_together_are_another_run(
    request_for: Callable[..., SampleRequest], parts: Path, tmp_path: Path
) -> None:
    scans = {"t1": "sub-1_T1w.nii.gz", "flair": "sub-1_FLAIR.nii.gz"}
    for folder, people in (("apart", ("sub-1", "sub-2")), ("together", ("sub-1", "sub-1"))):
        for who, (channel, name) in zip(people, scans.items(), strict=True):
            place = tmp_path / folder / who
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(parts / "scans" / "sub-secret" / name, place / f"{channel}.nii.gz")
    run_sampling(request_for(pairs=1, styles=(str(tmp_path / "together"),)), quiet())
    with pytest.raises(DatasetError, match="its style scans in other folders"):
        run_sampling(request_for(pairs=1, styles=(str(tmp_path / "apart"),)), quiet())


def test_a_scan_whose_name_is_no_utf_8_is_taken_and_its_name_escaped(
    request_for: Callable[..., SampleRequest], parts: Path, tmp_path: Path
) -> None:
    name = os.fsdecode(b"M\xfcller_T1w.nii.gz")
    try:
        shutil.copy(parts / "scans" / "sub-secret" / "sub-1_T1w.nii.gz", tmp_path / name)
    except OSError as error:
        pytest.skip(f"this disk takes no such name: {error}")
    request = request_for(pairs=1, styles=(str(tmp_path / name),))
    run_sampling(request, quiet())
    record = json.loads((request.folder / "brainspade" / "run.json").read_bytes())
    assert record["styles"][0]["name"] == r"M\udcfcller_T1w.nii.gz"
    assert run_sampling(request, quiet())["made"] == 0


def test_other_weights_are_refused(finished: Path, request_for: Callable[..., SampleRequest], tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "others", seed=1)
    with pytest.raises(DatasetError, match="other weights"):
        run_sampling(replace(request_for(), folder=finished, weights=str(tmp_path / "others")), quiet())


def test_healthy_people_in_a_folder_of_patients_are_no_other_weights(
    finished: Path, request_for: Callable[..., SampleRequest]
) -> None:
    healthy = request_for(plan=PairPlan(seed=1, steps=1))
    with pytest.raises(DatasetError, match=r"begun with tumour on, now off\. To go on, repeat"):
        run_sampling(replace(healthy, folder=finished), quiet())


def test_a_folder_of_something_else_is_left_alone(request_for: Callable[..., SampleRequest]) -> None:
    folder = request_for().folder
    folder.mkdir()
    (folder / "thesis.docx").touch()
    with pytest.raises(DatasetError, match="holds something else"):
        run_sampling(request_for(styles=("no scan is read.nii.gz",)), quiet())
    assert [path.name for path in folder.iterdir()] == ["thesis.docx"]


def test_a_run_of_another_version_is_left_alone_before_styles_are_read(
    request_for: Callable[..., SampleRequest],
) -> None:
    layout = RawLayout(request_for().folder, ".nii.gz")
    layout.create()
    write_run(layout, {"pairs_version": PAIRS_VERSION - 1}, 4, {})
    with pytest.raises(DatasetError, match="begun by an older version"):
        run_sampling(request_for(styles=("no scan is read.nii.gz",)), quiet())


def test_a_number_that_another_dataset_has_is_refused_before_anything_is_drawn(
    request_for: Callable[..., SampleRequest], tmp_path: Path
) -> None:
    (tmp_path / "Dataset501_Heart").mkdir()
    wanted = request_for("Dataset501_brainspade", pairs=2)
    with pytest.raises(DatasetError, match=r"number 501, Dataset501_Heart.* --out .*/Dataset502_brainspade\."):
        run_sampling(wanted, quiet())
    assert not wanted.folder.exists()
    # nnU-Net numbers no folder that is called otherwise, and what is begun goes on.
    assert run_sampling(request_for("Dataset502_brainspade", pairs=2), quiet())["complete"]
    (tmp_path / "Dataset502_Heart").mkdir()
    assert run_sampling(request_for("Dataset502_brainspade", pairs=3), quiet())["complete"]
    assert run_sampling(request_for("pairs", pairs=1), quiet())["complete"]


def test_pv_maps_are_kept_and_can_be_painted_again(request_for: Callable[..., SampleRequest]) -> None:
    run_sampling(request_for(pairs=3, save_pv=True), quiet())
    folder = request_for().folder
    pv = nib.load(folder / "brainspade" / "pv" / "brainspade_0000001.nii.gz")
    values = pv.get_fdata()
    assert pv.shape == (192, 256, 1, 8)
    assert pv.get_data_dtype() == np.uint8
    assert np.abs(values.sum(axis=-1) - 1).max() < 1e-6
    label = np.asarray(nib.load(folder / "labelsTr" / "brainspade_0000001.nii.gz").dataobj)
    assert (values.argmax(axis=-1) == label).all()
    again = request_for("again", pairs=3, plan=PairPlan(seed=1), labels=folder / "brainspade" / "pv")
    run_sampling(again, quiet())
    # Same maps, same seed, same styles: the same images.
    assert contents(again.folder) == contents(folder)


def test_a_preview_goes_up_and_says_how_high_each_slice_lies(
    finished: Path, request_for: Callable[..., SampleRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    captions = captured_captions(monkeypatch)
    folder = request_for().folder
    shutil.copytree(finished, folder)
    run_sampling(request_for(), quiet())
    listed = {row["case"]: row for row in rows(RawLayout(folder, ".nii.gz"))}
    shown = [listed[caption.split(", ")[0]] for caption in captions]
    heights = [row["position_mm"] for row in shown]
    assert len(captions) == 8
    assert heights == sorted(heights)
    for caption, row in zip(captions, shown, strict=True):
        assert f"z {round(row['position_mm'])} mm" in caption
        assert ("lesion" in caption) is row["lesion"]
        faint = row["oedema_contrast"] < 1
        assert (f"oedema at {row['oedema_contrast']:.0%} contrast" in caption) is faint


def test_maps_without_a_height_get_none(
    request_for: Callable[..., SampleRequest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    captions = captured_captions(monkeypatch)
    (tmp_path / "own").mkdir()
    np.savez(tmp_path / "own" / "a.npz", pv=one_hot_maps(ellipse_label()))
    save(tmp_path / "own" / "b.nii.gz", ellipse_label()[:, :, None], (1.0, 1.0, 1.0))
    request = request_for(pairs=2, plan=PairPlan(), labels=tmp_path / "own")
    run_sampling(request, quiet())
    assert {row["origin"]: row["position_mm"] is None for row in rows(RawLayout(request.folder, ".nii.gz"))} == {
        "a.npz slice 0": True,
        "b.nii.gz slice 0": False,
    }
    assert sorted((caption.split(", ")[0], " mm" in caption) for caption in captions) == [
        ("brainspade_0000000", False),
        ("brainspade_0000001", True),
    ]


def test_own_labels_are_painted_in_turn(request_for: Callable[..., SampleRequest], tmp_path: Path) -> None:
    save(tmp_path / "own" / "a.nii.gz", ellipse_label()[:, :, None], (1.0, 1.0, 1.0))
    save(tmp_path / "own" / "b.nii.gz", ellipse_label(tumour=True)[:, :, None], (1.0, 1.0, 1.0))
    request = request_for(pairs=3, plan=PairPlan(), labels=tmp_path / "own")
    run_sampling(request, quiet())
    labels = [
        np.asarray(nib.load(request.folder / "labelsTr" / f"brainspade_{index:07d}.nii.gz").dataobj)[:, :, 0]
        for index in range(3)
    ]
    assert (labels[0] == ellipse_label()).all()
    assert (labels[1] == ellipse_label(tumour=True)).all()
    assert (labels[2] == labels[0]).all()
    image = np.asarray(nib.load(request.folder / "imagesTr" / "brainspade_0000001_0000.nii.gz").dataobj)[:, :, 0]
    assert ((image == 0) == (labels[1] == 0)).all()
    listed = {row["index"]: row for row in rows(RawLayout(request.folder, ".nii.gz"))}
    assert [listed[index]["origin"] for index in range(3)] == ["a.nii.gz slice 0", "b.nii.gz slice 0"] * 1 + [
        "a.nii.gz slice 0"
    ]


def test_png_is_an_option(request_for: Callable[..., SampleRequest]) -> None:
    run_sampling(request_for(pairs=2, file_format="png"), quiet())
    image, height = read_plane(request_for().folder / "imagesTr" / "brainspade_0000001_0001.png")
    label, _ = read_plane(request_for().folder / "labelsTr" / "brainspade_0000001.png")
    row = list(rows(RawLayout(request_for().folder, ".png")))[1]
    assert image.shape == label.shape == (192, 256)
    assert np.bincount(label.ravel(), minlength=8).tolist() == list(row["pixels"].values())
    assert height == pytest.approx(row["position_mm"])


def test_a_dry_run_writes_nothing(
    request_for: Callable[..., SampleRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    summary = run_sampling(request_for(dry_run=True, shard=Shard(0, 2)), sampling.Reporter())
    assert (summary["missing"], summary["steps"], summary["channels"]) == (8, 1, ["t1", "flair"])
    assert summary["bytes"] > 0
    told = capsys.readouterr().err
    assert "Would make 8 of 8 pairs" in told
    assert "In 1 steps the sampler unipc" in told
    assert not request_for().folder.exists()


def test_a_full_disk_ends_the_run_and_says_so(
    request_for: Callable[..., SampleRequest], monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    write = case_writer.write_case

    def full(layout: RawLayout, case: str, *arguments: Any) -> None:
        if case == "brainspade_0000005":
            raise OSError(errno.ENOSPC, "No space left on device", str(layout.label_path(case)))
        write(layout, case, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(case_writer, "write_case", full)
        with pytest.raises(BrainspadeError, match=r"brainspade_0000005\.nii\.gz could not be written \(No space left"):
            run_sampling(request_for(), quiet())
    run_sampling(request_for(), quiet())
    assert contents(request_for().folder) == contents(finished)


def test_two_runs_do_not_share_a_folder(
    request_for: Callable[..., SampleRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def meddle(self: case_writer.CaseWriter, pair: Pair) -> None:
        with pytest.raises(DatasetError, match="Another run is at work"):
            run_sampling(request_for(pairs=2), quiet())
        raise BrainspadeError("seen")

    monkeypatch.setattr(case_writer.CaseWriter, "write", meddle)
    with pytest.raises(BrainspadeError, match="seen"):
        run_sampling(request_for(pairs=2), quiet())


def test_labels_that_fail_are_counted_and_said(
    request_for: Callable[..., SampleRequest], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(label_blocks, "label_problems", lambda label, lesion: ("it is ugly",))
    monkeypatch.setattr(label_blocks, "MAX_ATTEMPTS", 2)
    summary = run_sampling(request_for(pairs=2), quiet())
    assert (summary["redrawn"], summary["flagged"]) == (2, 2)
    assert "2 labels failed their checks" in capsys.readouterr().err
    assert all(row["problems"] == ["it is ugly"] for row in rows(RawLayout(request_for().folder, ".nii.gz")))


def test_the_next_command_fits_the_folder(
    request_for: Callable[..., SampleRequest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nnUNet_raw" / "Dataset501_brainspade").mkdir(parents=True)
    named = run_sampling(request_for(pairs=1), quiet())
    raw = request_for().folder.parent
    assert named["next"] == (
        f"nnUNet_raw={raw} nnUNet_preprocessed={raw.parent}/nnUNet_preprocessed "
        "nnUNetv2_plan_and_preprocess -d 501 -c 2d --verify_dataset_integrity"
    )
    other = run_sampling(request_for("mine", pairs=1), quiet())
    assert other["next"].startswith(f"brainspade export-nnunet {request_for('mine').folder}")
    # Number 501 is taken.
    assert "--id 502 " in other["next"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": 0}, "--n must be at least 1"),
        ({"file_format": "dicom"}, "no format 'dicom'"),
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"labels": Path("anywhere")}, "leave one of them out"),
        ({"styles": ()}, "A style is needed"),
        ({"plan": PairPlan(sampler="euler")}, "no sampler 'euler'"),
        ({"device": "abacus"}, "no device 'abacus'"),
    ],
)
def test_requests_that_make_no_sense_are_refused_before_anything_is_written(
    request_for: Callable[..., SampleRequest], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_sampling(request_for(**changes), quiet())
    assert not request_for().folder.exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_process_goes_on_to_the_same_dataset(
    parts: Path, request_for: Callable[..., SampleRequest], tmp_path: Path
) -> None:
    plan = PairPlan(seed=1, steps=1)
    whole, killed = request_for("whole", pairs=40, plan=plan), request_for("killed", pairs=40, plan=plan)
    script = (
        "import sys; from pathlib import Path; from brainspade_cli.sampling.sample import *; "
        "from brainspade_cli.sampling import label_blocks; label_blocks.label_problems = lambda label, lesion: (); "
        "from brainspade_cli.sampling.plan import PairPlan; from brainspade_cli.console import Reporter; "
        f"run_sampling(SampleRequest(({str(parts / 'scans')!r},), 40, Path(sys.argv[1]), PairPlan(seed=1, steps=1), "
        f"{str(parts / 'weights')!r}, device='cpu', precision='fp32'), Reporter())"
    )
    for files in (5, 30, 60):
        process = subprocess.Popen([sys.executable, "-c", script, str(killed.folder)])
        while len(list(killed.folder.glob("*Tr/*.nii.gz"))) < files and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (killed.folder / "dataset.json").exists()
    run_sampling(killed, quiet())
    run_sampling(whole, quiet())
    assert contents(killed.folder) == contents(whole.folder)
    assert not list(killed.folder.rglob(".*partial*"))
