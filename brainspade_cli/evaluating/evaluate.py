"""The run behind `brainspade evaluate`: a dataset, described and held against real people, with a report beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainspade_cli import __version__
from brainspade_cli.anatomy import TISSUE_NAMES
from brainspade_cli.auditing.made_with import trained_people
from brainspade_cli.console import Reporter
from brainspade_cli.errors import DatasetError, InputError
from brainspade_cli.evaluating.balance import balance
from brainspade_cli.evaluating.collect import Collected, ImageTable, collect
from brainspade_cli.evaluating.contrast import histogram_distance, tissue_contrast
from brainspade_cli.evaluating.diversity import agreement, distinct_share, similarity
from brainspade_cli.evaluating.features import NAME
from brainspade_cli.evaluating.fidelity import fidelity
from brainspade_cli.evaluating.image_statistics import histogram, standardise
from brainspade_cli.evaluating.label_distance import label_distance
from brainspade_cli.evaluating.read_raw import RawSlices, is_real, open_raw
from brainspade_cli.evaluating.read_slice_set import POPULATIONS, SPLITS, real_slices
from brainspade_cli.evaluating.slice_source import SliceSource
from brainspade_cli.files import disk_errors, sha256, write_json
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.reporting.verdicts import EVALUATION_FILE
from brainspade_cli.sampling.run_folder import RUN_FILE, read_run
from brainspade_cli.slices import SliceSet, open_slice_set
from brainspade_cli.styles.scan import load_style

FORMAT = 1
MOST_SLICES = 5000
# With fewer people, what halves of them differ by says little about people.
FEW_PEOPLE = 6
PEOPLE_SHOWN = 3
# A cloud of fewer points has no shape to compare.
FEWEST_IMAGES = 10


@dataclass(frozen=True)
class EvaluationRequest:
    """What `brainspade evaluate` is asked for.

    `against`: a slice set, of which `split` and `population` choose people, or another raw dataset; None for the
    figures that need nothing real. `population` "auto" is what the dataset was drawn to be. `styles`: style scans that
    the dataset was painted after. `most`: slices looked at in each set, spread evenly over it. `out`: the report's
    file, by default brainspade/evaluation.json in the dataset.
    """

    dataset: Path
    against: Path | None = None
    split: str = "held-out"
    population: str = "auto"
    styles: tuple[Path, ...] = ()
    most: int = MOST_SLICES
    seed: int = 0
    out: Path | None = None


def evaluate(request: EvaluationRequest, reporter: Reporter) -> dict[str, Any]:
    """Measure a dataset, write the report, and return it as JSON data, "file" naming where it lies.

    Raises InputError and its kin for what cannot be read or compared.
    """
    _check(request)
    out = request.out or RawLayout(request.dataset, "").provenance / EVALUATION_FILE
    made_set = open_raw(request.dataset, made_only=True)
    if out.is_dir():
        raise InputError(f"{out} is a folder; name the file that the report is to be.")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    made_source = made_set.source(request.most)
    hashes = {path: sha256(path) for path in request.styles}
    opened = _opened(request)
    real_source = None if opened is None else _real_source(request, made_set, opened)
    notes_on_real = list(_notes_on_real(request.dataset, opened, real_source)) if opened and real_source else []
    made = collect(made_source, reporter, "dataset")
    real = None if real_source is None else collect(real_source, reporter, "real people")
    if real is not None and real.shape != made.shape:
        raise DatasetError(
            f"{request.dataset} has slices of {made.shape} pixels and {request.against} of {real.shape}; only frames of"
            " one size can be compared."
        )
    rows = (row for row in made_set.rows.values() if not is_real(row))
    report = {
        "format": FORMAT,
        "brainspade": __version__,
        "dataset": request.dataset.resolve().name,
        "pairs": made_source.total,
        "looked_at": len(made_source.readers),
        "against": None if real_source is None else _described(real_source, request),
        "features": NAME,
        "seed": request.seed,
        "labels": _labels(made, real, request.seed),
        "images": {channel: _images(made, real, channel, made_source.names, request.seed) for channel in made.channels},
        "styles": _styles(made, hashes, request),
        "balance": balance(rows),
        "notes": [
            *_notes_on_dataset(made_set),
            *notes_on_real,
            *_notes(made, real, made_source, real_source, request),
        ],
    }
    with disk_errors(out):
        write_json(out, report)
    return {**report, "file": str(out)}


def _check(request: EvaluationRequest) -> None:
    if request.split not in SPLITS:
        raise InputError(f"There is no split '{request.split}'; choose one of {', '.join(SPLITS)}.")
    if request.population not in ("auto", *POPULATIONS):
        raise InputError(f"There is no population '{request.population}'; choose auto, {', '.join(POPULATIONS)}.")
    for path in request.styles:
        if not path.is_file():
            raise InputError(f"There is no style scan {path}.")


def _opened(request: EvaluationRequest) -> SliceSet | RawSlices | None:
    """What a dataset is held against: nothing, a slice set, or a raw dataset."""
    if request.against is None:
        return None
    if not (request.against / "dataset.json").is_file():
        return open_slice_set(request.against)
    if request.against.resolve() == request.dataset.resolve():
        raise InputError(f"{request.against} is the dataset itself; name real data, or another dataset.")
    return open_raw(request.against, made_only=False)


def _real_source(request: EvaluationRequest, made: RawSlices, opened: SliceSet | RawSlices) -> SliceSource:
    """The slices that are held to be real."""
    if isinstance(opened, RawSlices):
        source = opened.source(request.most)
    else:
        channels = made.dataset.header.channel_names
        population = _population(made.dataset.folder) if request.population == "auto" else request.population
        source = real_slices(opened, channels, split=request.split, population=population, most=request.most)
    if source.names != made.names:
        raise DatasetError(
            f"{request.dataset} has the labels {', '.join(made.names)} and {request.against} has"
            f" {', '.join(source.names)}; compare datasets of the same labels."
        )
    return source


def _population(folder: Path) -> str:
    """Whom a dataset was drawn to resemble, as its run tells; "all" where labels were given, or runs were merged."""
    layout = RawLayout(folder, "")
    run = read_run(layout) if (layout.provenance / RUN_FILE).is_file() else None
    tumour = None if run is None else run["settings"].get("tumour")
    return "all" if tumour is None else "tumour" if tumour else "healthy"


def _described(source: SliceSource, request: EvaluationRequest) -> dict[str, Any]:
    assert request.against is not None
    return {
        "name": request.against.resolve().name,
        "what": source.description,
        "people": list(source.people),
        "slices": source.total,
        "looked_at": len(source.readers),
    }


def _labels(made: Collected, real: Collected | None, seed: int) -> dict[str, Any]:
    table = made.label_table
    found: dict[str, Any] = {
        "distinct": distinct_share(made),
        "means": {
            name: float(np.nanmean(table.column(name)))
            for name in table.columns
            if np.isfinite(table.column(name)).any()
        },
    }
    if real is not None:
        try:
            found["distance"] = label_distance(table, real.label_table, seed=seed).to_json()
        except ValueError as error:
            raise InputError(f"The labels cannot be compared: {error}.") from error
    return found


def _images(made: Collected, real: Collected | None, channel: str, names: tuple[str, ...], seed: int) -> dict[str, Any]:
    own, theirs = made.channels[channel], None if real is None else real.channels.get(channel)
    alike = similarity(own, theirs, seed)
    found: dict[str, Any] = {
        "images": len(own.place),
        "similarity": None if alike is None else alike.to_json(),
        "agreement": agreement(own, theirs, seed).to_json(),
    }
    if real is not None and theirs is not None:
        contrast = tissue_contrast(made, real, channel, names[1:], seed)
        figures = {} if _few(own, theirs) else fidelity(own.features, theirs.features, seed)
        found["real_images"] = len(theirs.place)
        found["fidelity"] = {name: item.to_json() for name, item in figures.items()}
        found["contrast"] = None if contrast is None else contrast.to_json()
    return found


def _few(*tables: ImageTable) -> bool:
    return min(len(table.place) for table in tables) < FEWEST_IMAGES


def _styles(made: Collected, hashes: dict[Path, str], request: EvaluationRequest) -> list[dict[str, Any]]:
    """Each style scan handed over, against the images painted after it."""
    found = []
    for path, digest in hashes.items():
        painted = [(channel, table) for channel, table in made.channels.items() if digest in table.styles]
        if not painted:
            raise InputError(
                f"{path} is no style scan of {request.dataset}: no image of it was painted after that file."
            )
        shown = np.array([histogram(image[brain]) for image, brain in map(standardise, load_style(path).slices)])
        for channel, table in painted:
            members = np.array([style == digest for style in table.styles])
            distance = histogram_distance(table.histograms[members], shown, request.seed)
            found.append(
                {
                    "channel": channel,
                    "style": path.name,
                    "sha256": digest,
                    "images": int(members.sum()),
                    "histogram": distance.to_json(),
                }
            )
    return found


def _notes_on_dataset(made: RawSlices) -> list[str]:
    notes = []
    if merged := sum(map(is_real, made.rows.values())):
        notes.append(f"Real cases that an export merged in ({merged}) were left out.")
    if not TISSUE_NAMES.issubset(made.names):
        notes.append(
            "The labels do not tell grey from white matter and CSF, so they need not cover the brain, and those without"
            " a lesion are alike: agreement and the share of different labels mean nothing here."
        )
    return notes


def _notes_on_real(dataset: Path, opened: SliceSet | RawSlices, source: SliceSource) -> Iterator[str]:
    """What to say of slices that are held to be real: whom the weights learnt from, or how many were made."""
    if isinstance(opened, SliceSet):
        yield from _notes_on_people(dataset, opened, source)
        return
    rows = [opened.rows[case.name] for case in opened.cases if case.name in opened.rows]
    made = sum(not is_real(row) for row in rows)
    if made:
        yield f"{made} of the slices that are called real here were made by brainspade: they tell nothing of people."


def _notes_on_people(dataset: Path, slices: SliceSet, source: SliceSource) -> Iterator[str]:
    """What to say where the weights learnt from some of the people of a slice set, by their names.

    Raises DatasetError for a record of the dataset that cannot be read.
    """
    people = (*source.people, *source.lent)
    found = trained_people(RawLayout(dataset, ""))
    if found is None:
        yield (
            "Whom the weights of this dataset learnt from is not on record here: if from these people, it looks better"
            " beside them than it is."
        )
    trained = set(found or ())
    if met := sorted({scan.person for scan in slices.scans if scan.person in people and trained & scan.person_names}):
        shown = f"{', '.join(met[:PEOPLE_SHOWN])}{', ...' if len(met) > PEOPLE_SHOWN else ''}"
        yield (
            f"By their names, the weights learnt from {len(met)} of these {len(people)} people ({shown}): beside"
            " them a dataset looks better than it is."
        )


def _notes(
    made: Collected,
    real: Collected | None,
    source: SliceSource,
    real_source: SliceSource | None,
    request: EvaluationRequest,
) -> list[str]:
    """What a reader should know before believing the figures."""
    notes = []
    if len(source.readers) < source.total:
        notes.append(f"{len(source.readers)} of {source.total} pairs were looked at, spread evenly over the dataset.")
    if real is None or real_source is None:
        return notes
    if 0 < len(real_source.people) < FEW_PEOPLE:
        notes.append(f"The yardstick is rough: it comes from so few people ({len(real_source.people)}).")
    if not real_source.people:
        notes.append(
            "Nothing tells whose the real slices are, so each counts by itself and the intervals are too narrow."
        )
    if real_source.people and request.split != "held-out":
        notes.append("A dataset that copies the people it was trained on looks good beside them; held-out people tell.")
    missing = [channel for channel in made.channels if channel not in real.channels]
    if missing:
        notes.append(f"The real people have no images of {', '.join(missing)}: nothing tells how real these look.")
    few = [name for name in made.channels if name in real.channels and _few(made.channels[name], real.channels[name])]
    if few:
        notes.append(f"Too few images of {', '.join(few)} to compare them as sets; {FEWEST_IMAGES} are needed.")
    if not np.isfinite(made.label_table.column("entropy/brain")).any():
        notes.append("The dataset keeps no PV maps (`sample --save-pv`), so the softness of borders is not compared.")
    if not np.isfinite(made.label_table.column("position/height")).all():
        notes.append("Not all heights are known, so slices of all heights were compared with each other.")
    return notes
