"""The entry points that a user's files reach, each fed with what `mutations` makes of good ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from brainspade_cli.sampling.run import SampleRequest
from brainspade_cli.weights import open_bundle
from tests.fuzz import look_targets, mutations
from tests.fuzz.harness import Case, Target
from tests.fuzz.material import COARSE, Material, linked, quiet, replace
from tests.phantoms import affine_of, t1_of, tissue_phantom
from tests.sampling.parts import ellipse_label, one_hot_maps

Rng = np.random.Generator
TASK = {"labels": {"grey": ["gm", "deep_gm"], "lesion": "tumour", "background": ["csf"], "ignore": ["oedema"]}}


def targets(material: Material) -> tuple[Target, ...]:
    """Every entry point under attack."""
    return tuple(
        Target(build.__name__.removeprefix("_"), lambda folder, rng, build=build: build(material, folder, rng))
        for build in _BUILDERS
    )


def _style(material: Material, folder: Path, rng: Rng) -> Case:
    raw = mutations.nifti_bytes(t1_of(tissue_phantom(COARSE)).astype(np.int16), affine_of((38, 45, 22), COARSE))
    name = mutations.pick(rng, ("flair.nii.gz", "a scan_T1w.nii.gz", "\u8111_t2.nii.gz", "pd.nii.gz"))
    what, path = mutations.mutated_nifti(raw, folder / name, rng)
    how = int(rng.integers(4))
    value = (str(path), f"t1={path}", str(folder), f"{folder}/**/*.nii*")[how]
    if how >= 2 and rng.random() < 0.2:
        (folder / "loop").symlink_to(folder)
        (folder / "again").symlink_to(folder)
        what += " loops"
    if rng.random() < 0.1:
        request = material.request(folder, folder / "out", styles=(value,), dry_run=True)
        return Case(f"{what} as {how}", lambda: _sample(request), (path.name, folder.name))
    from brainspade_cli.styles.arguments import parse_styles
    from brainspade_cli.styles.pool import load_styles

    bundle = open_bundle(str(material.folder / "bundle"))
    return Case(
        f"{what} as {how}", lambda: load_styles(bundle, parse_styles([value]), quiet()), (path.name, folder.name)
    )


def _sample(request: SampleRequest) -> object:
    from brainspade_cli.sampling.sample import run_sampling

    return run_sampling(request, quiet())


def _labels(material: Material, folder: Path, rng: Rng) -> Case:
    from brainspade_cli.sampling.given_labels import GivenLabels

    label = ellipse_label(tumour=True)[::2, ::2]
    given = folder / "given labels"
    given.mkdir()
    kind = int(rng.integers(3))
    if kind == 2:
        what, content = mutations.mutated_npz(one_hot_maps(label).astype(np.float32) / 255, rng)
        path = given / "a.npz"
        path.write_bytes(content)
        if rng.random() < 0.1:
            what = mutations.special_file(path, rng)
    else:
        data = label[:, :, None] if kind == 0 else np.moveaxis(one_hot_maps(label), 0, -1)[:, :, None]
        raw = mutations.nifti_bytes(data, affine_of(data.shape, (2.0, 2.0, 2.0)))
        what, path = mutations.mutated_nifti(raw, given / "a.nii.gz", rng)
    return Case(what, lambda: GivenLabels(given, quiet()).draw(range(2)), (path.name, given.name))


def _prepare(material: Material, folder: Path, rng: Rng) -> Case:
    from brainspade_cli.preparing.prepare import prepare

    tissue = tissue_phantom(COARSE)
    files = {
        "t1": t1_of(tissue).astype(np.int16),
        "flair": t1_of(tissue, 1),
        "tissues": tissue,
        "regions": np.where(np.indices(tissue.shape)[0] < 19, *np.array([[0, 24, 3, 2], [0, 24, 42, 41]])[:, tissue]),
        "tumour": (tissue == 3) * (np.indices(tissue.shape).sum(0) % 7 == 0),
        "pv": np.moveaxis((tissue == np.arange(8)[:, None, None, None]).astype(np.float32), 0, -1),
    }
    roles = [("t1",), ("tissues", "t1"), ("regions",), ("pv",), ("tumour", "regions"), ("flair",), ("regions", "t1")]
    chosen = mutations.pick(rng, roles)
    spoilt = mutations.pick(rng, chosen)
    names = {}
    for role in chosen:
        data = files[role].astype(np.int16) if role in ("regions", "tumour") else files[role]
        path = folder / f"{role} \u8111.nii.gz"
        raw = mutations.nifti_bytes(data, affine_of(data.shape, COARSE))
        if role == spoilt:
            what, path = mutations.mutated_nifti(raw, path, rng)
        else:
            path.write_bytes(mutations.gzip.compress(raw, 1))
        names[role] = path.name
    table = folder / "scans.tsv"
    table.write_text("subject\t" + "\t".join(names) + "\nsub-01\t" + "\t".join(names.values()) + "\n")
    out = folder / "out"

    def run() -> object:
        try:
            return prepare(table, out, register=False, held_out=(), jobs=1, reporter=quiet())
        except Exception:
            _check_report(out)
            raise

    return Case(f"{spoilt} of {chosen}: {what}", run, (table.name,))


def _check_report(out: Path) -> None:
    """A refused scan has one line in the report, which says one sentence."""
    lines = (out / "report.tsv").read_text().splitlines() if (out / "report.tsv").exists() else []
    for line in lines[1:]:
        assert len(line.split("\t")) == 3, line
        assert line.endswith("."), line


def _table(material: Material, folder: Path, rng: Rng) -> Case:
    from brainspade_cli.preparing.scan import fingerprint
    from brainspade_cli.preparing.scan_table import find_scans

    (folder / "a.nii.gz").write_bytes(b"scan")
    rows = [["subject", "dataset", "person", "split", "t1", "regions"]]
    rows.append(["sub-01", "lab", "p1", "train", "a.nii.gz", "a.nii.gz"])
    rows.append(["sub-02", "lab", "p2", "held-out", "a.nii.gz", ""])
    what, content = mutations.mutated_table(rows, rng)
    path = folder / "scans.tsv"
    path.write_bytes(content)

    def run() -> None:
        for scan in find_scans(path, mutations.pick(rng, ((), ("p1",)))):
            target = (Path("/set/scans") / scan.name).resolve()
            assert target.parent == Path("/set/scans"), scan.name
            assert len(scan.name.encode()) < 250, scan.name
            fingerprint(scan, True, None)

    return Case(what, run, (path.name, folder.name, "dev", "escape", "passwd"))


def _folder(material: Material, folder: Path, rng: Rng) -> Case:
    from brainspade_cli.preparing.prepare import prepare

    scans = folder / "bids"
    anatomy = scans / "sub-01" / "anat"
    anatomy.mkdir(parents=True)
    name = mutations.pick(rng, ("sub-01_T1w.nii.gz", "sub-01_desc-aseg_dseg.nii.gz", "sub-01_ses-\u8111_FLAIR.nii.gz"))
    raw = mutations.nifti_bytes(np.zeros((3, 4, 5), np.int16) + np.arange(5, dtype=np.int16), np.eye(4))
    what, path = mutations.mutated_nifti(raw, anatomy / name, rng)
    description = {"Name": "lab", "BIDSVersion": "1.8.0"}
    note, content = mutations.mutated_json(description, rng)
    (scans / "dataset_description.json").write_bytes(content)
    if rng.random() < 0.2:
        (anatomy / "up").symlink_to(scans)
        (scans / "loop").symlink_to(scans)
    out = folder / "out"
    return Case(
        f"{what}; {note}",
        lambda: prepare(scans, out, register=False, held_out=(), jobs=1, reporter=quiet()),
        (scans.name, path.name),
    )


def _weights(material: Material, folder: Path, rng: Rng) -> Case:
    from brainspade_cli.bundle_config import MADE_BY, TRAINING_CODES
    from brainspade_cli.bundle_info import bundle_info
    from brainspade_cli.files import sha256

    bundle = folder / "bundle"
    linked(material.folder / "bundle", bundle)
    config = bundle / "config.json"
    content = json.loads(config.read_text())
    parts = sorted(set(MADE_BY) - {TRAINING_CODES})
    name = mutations.pick(rng, parts)
    if rng.random() < 0.5:
        what, text = mutations.mutated_json(content, rng)
        replace(config, text)
        if rng.random() < 0.03:
            what = mutations.special_file(config, rng)
    else:
        path = bundle / f"{name}.safetensors"
        what, changed = mutations.mutated_safetensors(path.read_bytes(), rng)
        replace(path, changed)
        if rng.random() < 0.03:
            what = mutations.special_file(path, rng)
        elif rng.random() < 0.9:
            content["sha256"][path.name] = sha256(path)
            replace(config, json.dumps(content).encode())
        what = f"{name} {what}"

    def run() -> None:
        opened = open_bundle(str(bundle))
        bundle_info(opened)
        for part in parts:
            if part == "style_bank":
                opened.style_bank("t2")
            else:
                opened.network(part)

    return Case(what, run, (bundle.name,))


def _used_weights(material: Material, folder: Path, rng: Rng) -> Case:
    bundle = folder / "bundle"
    linked(material.folder / "bundle", bundle)
    content = json.loads((bundle / "config.json").read_text())
    part = mutations.pick(rng, ("latent", "conditions", "style_bank", "modalities"))
    inner = {part: content[part]}
    what, text = mutations.mutated_json(inner, rng)
    try:
        changed = json.loads(text)
        content |= changed if isinstance(changed, dict) else {}
        text = json.dumps(content).encode()
    except (ValueError, RecursionError):
        pass
    replace(bundle / "config.json", text)
    style = mutations.pick(rng, ("@t2", str(material.folder / "scan_T1w.nii.gz")))
    request = material.request(folder, folder / "out", weights=str(bundle), styles=(style,), labels=None, dry_run=True)
    return Case(f"{part}: {what}", lambda: _sample(request), (bundle.name,))


def _drawn_labels(material: Material, folder: Path, rng: Rng) -> Case:
    """A label drawn with networks, latents or conditions that config.json describes wrongly."""
    from brainspade_cli.devices import open_compute
    from brainspade_cli.geometry import GRID_ORIGIN, GRID_SHAPE
    from brainspade_cli.sampling.label_blocks import GeneratedLabels
    from brainspade_cli.sampling.plan import PairPlan

    bundle = folder / "bundle"
    linked(material.folder / "bundle", bundle)
    content = json.loads((bundle / "config.json").read_text())
    part = mutations.pick(rng, ("schedule", "schedule", "networks", "latent", "conditions", "solvers"))
    parent = content["networks"] if part == "schedule" else content
    if rng.random() < 0.7:
        what = mutations.other_number(parent[part], rng)
    else:
        what, text = mutations.mutated_json(parent[part], rng)
        # Text that is no JSON at all is what `weights` is fed with.
        with suppress(ValueError, RecursionError):
            parent[part] = json.loads(text)
    replace(bundle / "config.json", json.dumps(content).encode())
    plan = PairPlan(
        tumour=bool(rng.random() < 0.5),
        sampler=mutations.pick(rng, ("auto", "unipc", "fitted", "ddim", "dpm++", "ancestral")),
        steps=mutations.pick(rng, (1, 2, 8)),
        guidance=mutations.pick(rng, (1.0, 1.0, 3.0)),
    )

    def run() -> None:
        labels = GeneratedLabels(open_bundle(str(bundle)), plan, open_compute("cpu", "fp32"))
        for draw in labels.first_attempts(range(1)):
            assert draw.position_mm is not None
            assert 0 <= draw.position_mm - GRID_ORIGIN[2] <= GRID_SHAPE[2] - 1, draw.position_mm

    # A schedule may have fewer steps than are asked for, and a table none of the slices.
    return Case(f"{part}: {what}", run, (bundle.name, "A sampler takes", "trained on no slices"))


def _dataset_json(material: Material, folder: Path, rng: Rng) -> Case:
    made = folder / "Dataset501_made"
    linked(material.dataset, made)
    real = folder / "real"
    linked(material.folder / "real", real)
    spoilt = mutations.pick(rng, (made, real))
    path = mutations.pick(rng, (spoilt / "dataset.json",) * 3 + (made / "brainspade" / "manifest.jsonl",))
    content = json.loads(path.read_text().splitlines()[0]) if path.suffix == ".jsonl" else json.loads(path.read_text())
    if path.name == "dataset.json" and rng.random() < 0.3:
        cases = {"sub-01": {"images": ["imagesTr/sub-01_0000.nii.gz"], "label": "labelsTr/sub-01.nii.gz"}}
        content |= {"dataset": cases, "numTraining": 1}
    what, text = mutations.mutated_json(content, rng)
    replace(path, text)
    if rng.random() < 0.03:
        what = mutations.special_file(path, rng)
    names = (made.name, real.name, "merged")
    return Case(f"{path.name} of {spoilt.name}: {what}", _exporting(folder, made, real, rng), names)


def _dataset_files(material: Material, folder: Path, rng: Rng) -> Case:
    made, real = folder / "Dataset501_made", folder / "real"
    png = rng.random() < 0.3
    linked(material.folder / "Dataset503_png" if png else material.dataset, made)
    linked(material.folder / "real", real)
    spoilt = made if png else mutations.pick(rng, (made, real))
    path = mutations.pick(rng, sorted(spoilt.glob("*Tr/*")))
    content = path.read_bytes()
    path.unlink()
    if png:
        what, changed = mutations.mutated_text(content.replace(b"1", b"2"), rng) if rng.random() < 0.1 else ("", b"")
        what, changed = (what, changed) if what else mutations.mutated_png(content, rng)
        path.write_bytes(changed)
    else:
        what, written = mutations.mutated_nifti(mutations.gzip.decompress(content), path, rng)
        if written != path:
            written.rename(path)
    return Case(
        f"{path.name} of {spoilt.name}: {what}",
        _exporting(folder, made, None if png else real, rng),
        (made.name, real.name, path.name, "merged"),
    )


def _exporting(folder: Path, made: Path, real: Path | None, rng: Rng) -> Callable[[], object]:
    """An export (with the check) or a check alone, of the datasets."""
    from brainspade_cli.nnunet import check
    from brainspade_cli.nnunet.export import export

    task = mutations.pick(rng, ("all", "tissues", "tumour"))
    splits = bool(real and rng.random() < 0.4)
    form = mutations.pick(rng, (None, None, "nifti", "png"))
    only_check = rng.random() < 0.2

    def run() -> object:
        check.nnunet_installed = lambda: False  # it would take seconds to start, in a process of its own
        if only_check:
            return [check.require_sound(place, quiet()) for place in (made, real) if place]
        return export([made], folder / "out", 510, "merged", task, real, splits, form, True, reporter=quiet())

    return run


def _task(material: Material, folder: Path, rng: Rng) -> Case:
    from brainspade_cli.nnunet.export import export

    path = folder / "my task.json"
    what, text = mutations.mutated_json(TASK, rng)
    path.write_bytes(text)
    if rng.random() < 0.03:
        what = mutations.special_file(path, rng)
    run = lambda: export([material.dataset], folder / "out", 510, "x", str(path), reporter=quiet())  # noqa: E731
    return Case(what, run, (path.name, material.dataset.name))


def _slices(material: Material, folder: Path, rng: Rng) -> Case:
    from brainspade_cli.slices import open_slice_set
    from brainspade_cli.training.batches import image_table, label_table_of_all

    slices = folder / "slices"
    linked(material.folder / "slices", slices)
    path = mutations.pick(rng, sorted(path for path in slices.rglob("*.*") if path.is_file()))
    if path.suffix == ".npy":
        what, content = mutations.mutated_npy(np.load(path), rng)
    else:
        what, content = mutations.mutated_json(json.loads(path.read_text()), rng)
    replace(path, content)
    if rng.random() < 0.03:
        what = mutations.special_file(path, rng)

    def run() -> None:
        opened = open_slice_set(slices)
        images, labels = image_table(opened), label_table_of_all(opened, 0.5)
        rows = torch.arange(len(images))
        assert np.isfinite(images.read(rows).numpy()).all(), "an image is not finite"
        maps = labels.maps(torch.arange(len(labels)))
        assert np.allclose(maps.sum(dim=1), 1, atol=1e-4), "PV maps do not sum to 1"
        assert np.isfinite(labels.conditions.numpy()).all(), "conditions are not finite"

    return Case(f"{path.relative_to(slices)}: {what}", run, (slices.name, path.parent.name))


def _run_folder(material: Material, folder: Path, rng: Rng) -> Case:
    out = folder / "out" / "Dataset501_made"
    linked(material.dataset, out)
    path = out / "brainspade" / mutations.pick(rng, ("run.json", "manifest.jsonl"))
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    place = int(rng.integers(len(lines)))
    what, text = mutations.mutated_json(json.loads(lines[place]), rng)
    parts = [line.encode() for line in lines]
    parts[place] = text
    replace(path, b"\n".join(parts) + b"\n")
    if rng.random() < 0.03:
        what = mutations.special_file(path, rng)
    request = material.request(folder, out)
    return Case(f"{path.name}: {what}", lambda: _sample(request), (out.name,))


def _evaluation(material: Material, folder: Path, rng: Rng) -> Case:
    from brainspade_cli.evaluating.evaluate import EvaluationRequest, evaluate

    made, slices = folder / "Dataset501_made", folder / "slices"
    png = rng.random() < 0.3
    linked(material.folder / "Dataset503_png" if png else material.dataset, made)
    linked(material.folder / "slices", slices)
    kinds = ("*Tr/*", "*Tr/*", "dataset.json", "brainspade/manifest.jsonl", "brainspade/run.json")
    places = sorted(made.glob(mutations.pick(rng, kinds)))
    if rng.random() < 0.3:
        places = sorted(path for path in slices.rglob("*.*") if path.is_file())
    path = mutations.pick(rng, places)
    content = path.read_bytes()
    if path.suffix == ".gz":
        path.unlink()
        what, written = mutations.mutated_nifti(mutations.gzip.decompress(content), path, rng)
        if written != path:
            written.rename(path)
    else:
        if path.suffix == ".npy":
            what, changed = mutations.mutated_npy(np.load(path), rng)
        elif path.suffix == ".png":
            what, changed = mutations.mutated_png(content, rng)
        else:
            lines = content.splitlines() if path.suffix == ".jsonl" else [content]
            what, lines[0] = mutations.mutated_json(json.loads(lines[0]), rng)
            changed = b"\n".join(lines) + b"\n"
        replace(path, changed)
        if rng.random() < 0.03:
            what = mutations.special_file(path, rng)
    against = mutations.pick(rng, (None, slices, slices))
    population = mutations.pick(rng, ("auto", "all"))
    request = EvaluationRequest(made, against, "train", population, out=folder / "out" / "report.json")
    names = (made.name, slices.name, path.name)
    return Case(f"{path.relative_to(folder)}: {what}", lambda: evaluate(request, quiet()), names)


_BUILDERS = (
    _style,
    _labels,
    _prepare,
    _table,
    _folder,
    _weights,
    _used_weights,
    _drawn_labels,
    _dataset_json,
    _dataset_files,
    _task,
    _slices,
    _run_folder,
    _evaluation,
    *look_targets.BUILDERS,
)
