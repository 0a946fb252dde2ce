"""A sampling run before it starts: the request, what it names, opened, and the settings that its pairs depend on."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainspade_cli import __version__
from brainspade_cli.bundle import Bundle
from brainspade_cli.console import Reporter
from brainspade_cli.devices import Compute, open_compute
from brainspade_cli.errors import InputError, some_of
from brainspade_cli.nnunet.raw import FILE_ENDINGS, RawLayout, check_channel_names
from brainspade_cli.sampling.command import sample_command
from brainspade_cli.sampling.given_labels import GivenLabels
from brainspade_cli.sampling.label_blocks import require_kind
from brainspade_cli.sampling.manifest import pairs_made
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.sampling.run_folder import check_version, read_run
from brainspade_cli.sampling.shards import Shard
from brainspade_cli.sampling.solvers import few_steps, resolved, solver_of
from brainspade_cli.styles.arguments import channels_of, parse_styles
from brainspade_cli.styles.pool import StylePool, StyleSource, load_styles
from brainspade_cli.weights import open_bundle

# What a pair is, as a function of its settings, changes when this does: a run is then not gone on with.
PAIRS_VERSION = 22
PACKAGES = ("torch", "monai", "diffusers", "numpy", "nibabel")


@dataclass(frozen=True)
class SampleRequest:
    """What `brainspade sample` is asked for, defaults resolved.

    `styles`: --style values; `labels`: a folder of labels to paint instead of new ones; `batch_size` None is "auto";
    `file_format`: "nifti" or "png"; `strict`: refuse styles that lie outside what the weights saw.
    """

    styles: tuple[str, ...]
    pairs: int
    folder: Path
    plan: PairPlan = field(default_factory=PairPlan)
    weights: str | None = None
    revision: str | None = None
    offline: bool = False
    labels: Path | None = None
    file_format: str = "nifti"
    save_pv: bool = False
    batch_size: int | None = None
    device: str = "auto"
    precision: str = "auto"
    shard: Shard = field(default_factory=Shard)
    dry_run: bool = False
    strict: bool = False


@dataclass(frozen=True)
class SampleRun:
    """A request with everything that it names opened.

    `plan` is the request's, its sampler and step count resolved; `begun` what run.json said of a run begun before.
    """

    request: SampleRequest
    plan: PairPlan
    layout: RawLayout
    begun: dict[str, Any] | None
    bundle: Bundle
    styles: StylePool
    labels: GivenLabels | None
    compute: Compute
    settings: dict[str, Any]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the image channels, in their order."""
        return self.styles.channels

    @property
    def own(self) -> range:
        """Indices of the pairs of this run's shard."""
        return self.request.shard.indices(self.request.pairs)

    def made(self) -> NDArray[np.bool_]:
        """Which pairs of all shards are in the dataset, (pairs,)."""
        return pairs_made(self.layout, self.request.pairs, len(self.channels), self.request.save_pv)

    def record(self) -> dict[str, Any]:
        """Tell what run.json says beside the settings. File names only: folders may name patients."""
        config = self.bundle.config
        return {
            "command": self._command(),
            "weights": {
                "name": config.name,
                "source": self._weights_source(),
                "revision": self.bundle.revision,
                "sha256": self.bundle.hashes(),
                "licence": config.licence,
                "trained_on": list(config.datasets),
            },
            "styles": [_described(source) for source in self.styles.sources],
            "made_with": {
                "brainspade": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in PACKAGES},
                "device": self.compute.describe(),
            },
            "warnings": [note.recorded for note in self.styles.notes],
        }

    def _weights_source(self) -> str:
        source = self.bundle.source
        return Path(source).name if Path(source).is_absolute() else source

    def _command(self) -> str:
        request = self.request
        return sample_command(
            [(source.channel, source.name) for source in self.styles.sources],
            request.pairs,
            self.plan,
            weights=None if request.weights is None else (self._weights_source(), self.bundle.revision),
            labels=request.labels is not None,
            file_format=request.file_format,
            save_pv=request.save_pv,
            precision=self.compute.precision,
        )


def _described(source: StyleSource) -> dict[str, Any]:
    return {
        "channel": source.channel,
        "name": source.name,
        "sha256": source.sha256,
        "intensities": source.scale.to_json(),
        "stripped": source.stripped,
        "range": None if source.place is None else source.place.to_json(),
    }


def open_run(request: SampleRequest, reporter: Reporter) -> SampleRun:
    """Open weights, styles and labels; raises InputError and its kin for what of these cannot be used.

    Raises DatasetError, before any of them is read, where `request.folder` holds something else, or pairs of another
    version of brainspade.
    """
    if request.pairs < 1:
        raise InputError(f"--n must be at least 1, not {request.pairs}.")
    if request.file_format not in FILE_ENDINGS:
        raise InputError(f"There is no format '{request.file_format}'; choose one of {', '.join(FILE_ENDINGS)}.")
    if request.batch_size is not None and request.batch_size < 1:
        raise InputError(f"--batch-size must be at least 1, or auto, not {request.batch_size}.")
    if request.labels is not None and request.plan.tumour:
        raise InputError("--tumour asks for new labels and --labels gives some; leave one of them out.")
    layout = RawLayout(request.folder.expanduser(), FILE_ENDINGS[request.file_format])
    # Now, for it may refuse the folder: styles take minutes to read, where they are many.
    if (begun := read_run(layout)) is not None:
        check_version(layout, begun, PAIRS_VERSION)
    arguments = parse_styles(request.styles)
    check_channel_names(channels_of(arguments))
    compute = open_compute(request.device, request.precision)
    bundle = open_bundle(request.weights, request.revision, request.offline)
    plan = request.plan if request.labels is not None else _checked_plan(request.plan, bundle)
    if request.labels is None and (advice := few_steps(request.plan, plan)):
        reporter.warn(advice)
    styles = load_styles(bundle, arguments, reporter)
    if request.strict:
        _refuse_outside(styles)
    labels = None if request.labels is None else GivenLabels(request.labels, reporter)
    if labels is not None and labels.count > request.pairs:
        reporter.say(f"Of {labels.count} label slices, the first {request.pairs} are painted.")
    settings = _settings(request, plan, bundle, styles, labels, compute)
    return SampleRun(request, plan, layout, begun, bundle, styles, labels, compute, settings)


def _refuse_outside(styles: StylePool) -> None:
    """Raise InputError where a style is unlike what the weights saw, and name it; the warnings before say why."""
    outside = list(dict.fromkeys(str(note.about) for note in styles.notes if note.outside))
    if outside:
        raise InputError(
            f"--strict refuses {some_of(outside)}: the warnings above say in what they are"
            " unlike the scans that the weights saw. Choose other scans or other weights, or leave --strict out and"
            " look at the preview."
        )


def _checked_plan(plan: PairPlan, bundle: Bundle) -> PairPlan:
    """The plan with its sampler and steps; raises what drawing labels would raise later, before anything is written."""
    plan = resolved(plan, bundle)
    bundle.require(f"denoiser_{plan.population}", "label_autoencoder")
    table = bundle.conditions(plan.population)
    for lesion in plan.kinds():
        require_kind(table, lesion)
    return plan


def _settings(
    request: SampleRequest,
    plan: PairPlan,
    bundle: Bundle,
    styles: StylePool,
    labels: GivenLabels | None,
    compute: Compute,
) -> dict[str, Any]:
    """Everything that a pair is a function of, as JSON data: a run goes on only where all of it is the same."""
    config = bundle.config.to_json()
    subjects = list(dict.fromkeys(source.subject for source in styles.sources))
    # The bank counts in every run: codes of scans are drawn near to its own, and it says what is refused.
    parts = ["spade_generator", "style_encoder", "style_bank"]
    if labels is None:
        parts += ["label_autoencoder", f"denoiser_{plan.population}"]
    described = {
        "networks": config["networks"],
        "latent": config.get("latent"),
        "conditions": config["conditions"].get(plan.population),
        # Banks come with the intensities that images are stored in.
        "style_bank": config.get("style_bank") if any(source.is_bank for source in styles.sources) else None,
    }
    solver = None if labels is not None else solver_of(plan, bundle)
    files = {f"{name}.safetensors": bundle.config.sha256.get(f"{name}.safetensors") for name in sorted(parts)}
    return {
        "pairs_version": PAIRS_VERSION,
        **(_drawn(plan) if labels is None else {"seed": plan.seed, "faint_fraction": plan.faint_fraction}),
        "precision": compute.precision,
        "format": request.file_format,
        "save_pv": request.save_pv,
        "labels": None if labels is None else labels.digest,
        **({} if solver is None else {"solver": json.loads(json.dumps(asdict(solver)))}),
        "weights": {**files, "settings": hashlib.sha256(json.dumps(described).encode()).hexdigest()},
        "styles": [
            [source.channel, source.name, source.sha256, *(["stripped"] if source.stripped else [])]
            for source in styles.sources
        ],
        # Scans of one subject are drawn together; which ones are, their folders tell, and these stay out of records.
        "subjects": [subjects.index(source.subject) for source in styles.sources],
    }


def _drawn(plan: PairPlan) -> dict[str, Any]:
    """The plan without what has no effect: fractions of lesions where no lesion is drawn."""
    return asdict(plan if plan.tumour else replace(plan, tumour_fraction=0.0, faint_fraction=0.0))
