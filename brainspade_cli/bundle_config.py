"""The config.json of a weights bundle: frozen dataclasses, read strictly and checked before they are believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from brainspade_cli.anatomy import NAMES
from brainspade_cli.errors import WeightsError
from brainspade_cli.networks.configs import (
    AutoencoderConfig,
    DenoiserConfig,
    GeneratorConfig,
    ScheduleConfig,
    StyleEncoderConfig,
)
from brainspade_cli.strict_reading import MisfitError, read_strictly
from brainspade_cli.structure_places import DIGITS, STRUCTURES
from brainspade_cli.styles.intensities import MAX_INTENSITY, MIN_STD

FORMAT = 1
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
# Four times the sizes of the paper's networks are more than any has.
MAX_SIZE = 10_000
MAX_LEVELS = 16
# Bounds that no training comes near, within which float32 computes with room to spare. Latents of training slices are
# kept in float16, which ends at 65504, and their deviations are 1e-6 or more.
MAX_LATENT = 1e5
MIN_LATENT_SPREAD = 1e-6
MAX_COUNT = 1e12
# A sampler's weights of what it knows are about 1; far larger ones would blow up what networks see.
MAX_WEIGHT = 100.0
# The parts of a bundle, one tensor file each, and the command that makes each.
MADE_BY = {
    "label_autoencoder": "brainspade train-labels SLICES --out WEIGHTS",
    "denoiser_healthy": "brainspade train-labels SLICES --out WEIGHTS --population healthy --resume",
    "denoiser_tumour": "brainspade train-labels SLICES --out WEIGHTS --population tumour --resume",
    "style_encoder": "brainspade train-images SLICES --out WEIGHTS",
    "spade_generator": "brainspade train-images SLICES --out WEIGHTS",
    "style_bank": "brainspade train-images SLICES --out WEIGHTS",
    "training_codes": "brainspade weights codes SLICES --out WEIGHTS",
}
# Codes of the training slices to audit by (`auditing.codes`): a bundle is whole without them.
TRAINING_CODES = "training_codes"
TENSOR_FILES: tuple[str, ...] = tuple(f"{name}.safetensors" for name in MADE_BY)


@dataclass(frozen=True)
class NetworkConfigs:
    """Sizes of every network that a bundle may hold, and the noise schedule that its denoisers were trained with."""

    autoencoder: AutoencoderConfig
    denoiser: DenoiserConfig
    schedule: ScheduleConfig
    style_encoder: StyleEncoderConfig
    generator: GeneratorConfig


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation of each latent channel over the training slices; denoisers see z-scored latents.

    All but a handful of the z-scored latents lie within +-`limit`, and what a sampler predicts is held there.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    limit: float = 3.0


@dataclass(frozen=True)
class ConditionTable:
    """Joint histogram of the training slices: `counts[position bin][load bin]`.

    Load bin 0 is exactly no lesion; bin j > 0 lies between `load_edges[j - 1]` and `load_edges[j]`. `lesions_across`:
    share of the slices with a lesion that have one on each side (`lesion_sides.across`); 1 where nobody counted.
    `places`: where structures lie in slices of each position bin (`structure_places`); those without may lie anywhere.
    """

    position_edges: tuple[float, ...]
    load_edges: tuple[float, ...]
    counts: tuple[tuple[float, ...], ...]
    lesions_across: float = 1.0
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Solver:
    """A sampler fitted to one denoiser (`fitted_sampler`): the timesteps that it visits, from noisy to clean.

    After evaluation k the latents are replaced by `weights[k][0]` times themselves plus `weights[k][1 + j]` times the
    clean latents that evaluation j implied, j from 0 to k. The last row gives the clean latents.
    """

    timesteps: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]

    @property
    def steps(self) -> int:
        """Number of evaluations."""
        return len(self.timesteps)


@dataclass(frozen=True)
class People:
    """Names of the people that the networks were trained on, and of those kept out of every training."""

    train: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class StyleBankEntry:
    """Intensities that belong to a modality's banked styles, in scan units: of the brain, and outside it."""

    intensity_mean: float
    intensity_std: float
    background: float = 0.0


@dataclass(frozen=True)
class BundleConfig:
    """A bundle's config.json. `sha256` lists the tensor files that are part of the bundle, nothing else is."""

    name: str
    preset: str
    networks: NetworkConfigs
    format: int = FORMAT
    labels: tuple[str, ...] = NAMES
    latent: LatentStatistics | None = None
    conditions: dict[str, ConditionTable] = field(default_factory=dict)
    solvers: dict[str, Solver] = field(default_factory=dict)
    modalities: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    people: People = People()
    perceptual: str = ""
    style_bank: dict[str, StyleBankEntry] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    licence: str = ""
    sha256: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def from_json(data: Any, where: str = CONFIG_FILE) -> BundleConfig:
        """Read parsed JSON; `where` names its file in messages.

        Raises WeightsError for another format or label table, for a missing, unknown or ill-typed entry, and for
        entries that contradict each other.
        """
        if not isinstance(data, dict) or "format" not in data or "networks" not in data:
            raise WeightsError(f"{where} is not the config.json of a brainspade weights bundle.")
        number = data["format"]
        if isinstance(number, int) and number > FORMAT:
            raise WeightsError(
                f"{where} is of format {number}, made by a newer brainspade than this one (format {FORMAT}); "
                "upgrade with `pip install --upgrade brainspade`."
            )
        if number is True or number != FORMAT:
            raise WeightsError(f"{where} is of format {number!r}, and this brainspade reads format {FORMAT}.")
        if not isinstance(data.get("labels"), list | tuple) or tuple(data["labels"]) != NAMES:
            raise WeightsError(
                f"{where} was trained on the labels {data.get('labels')!r}, and this brainspade uses {list(NAMES)}; "
                "use weights made for this label table."
            )
        try:
            config = read_strictly(BundleConfig, data, "")
            _check(config)
        except MisfitError as misfit:
            raise WeightsError(f"{where} cannot be used: {misfit}; get the weights again.") from None
        return config

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, format first; `from_json` reads it back."""
        data = asdict(self)
        if self.latent is None:
            del data["latent"]
        if not self.solvers:
            del data["solvers"]
        return {"format": data.pop("format"), **data}


def _check(config: BundleConfig) -> None:
    """Raise MisfitError where entries contradict each other."""
    for file, digest in config.sha256.items():
        if file not in TENSOR_FILES:
            raise MisfitError(f"sha256 lists {file!r}, which is no file of a bundle")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise MisfitError(f"sha256.{file} is not a SHA-256")
    if both := sorted(set(config.people.train) & set(config.people.held_out)):
        raise MisfitError(f"people names {', '.join(map(repr, both[:3]))} both in train and in held_out")
    _check_sizes(asdict(config.networks), "networks")
    for modality, entry in config.style_bank.items():
        numbers = (entry.intensity_mean, entry.intensity_std, entry.background)
        if entry.intensity_std < MIN_STD or max(map(abs, numbers)) > MAX_INTENSITY:
            raise MisfitError(f"style_bank.{modality} has intensities that no scan has")
    channels = config.networks.autoencoder.latent_channels
    if config.networks.denoiser.latent_channels != channels:
        raise MisfitError("the denoiser and the autoencoder differ in latent_channels")
    if config.networks.generator.style_dim != config.networks.style_encoder.style_dim:
        raise MisfitError("the style encoder and the generator differ in style_dim")
    if config.latent is not None:
        if len(config.latent.mean) != channels or len(config.latent.std) != channels:
            raise MisfitError(f"latent must hold {channels} means and {channels} standard deviations")
        for index, (mean, std) in enumerate(zip(config.latent.mean, config.latent.std, strict=True)):
            _check_within(mean, -MAX_LATENT, MAX_LATENT, f"latent.mean[{index}]")
            _check_within(std, MIN_LATENT_SPREAD, MAX_LATENT, f"latent.std[{index}]")
        _check_within(config.latent.limit, MIN_LATENT_SPREAD, MAX_LATENT, "latent.limit")
    for population, table in config.conditions.items():
        _check_table(table, f"conditions.{population}")
    for population, solver in config.solvers.items():
        if f"denoiser_{population}" not in MADE_BY:
            raise MisfitError(f"solvers.{population} belongs to no denoiser")
        _check_solver(solver, config.networks.schedule.steps, f"solvers.{population}")


def _check_sizes(sizes: Any, key: str) -> None:
    """Raise MisfitError for sizes that no network has: building one would take memory or time without end."""
    if isinstance(sizes, Mapping):
        for name, part in sizes.items():
            _check_sizes(part, f"{key}.{name}")
    elif isinstance(sizes, list | tuple):
        if not 1 <= len(sizes) <= MAX_LEVELS:
            raise MisfitError(f"{key} must have 1 to {MAX_LEVELS} levels, not {len(sizes)}")
        for index, part in enumerate(sizes):
            _check_sizes(part, f"{key}[{index}]")
    elif type(sizes) is int:
        most = MAX_LEVELS if key.endswith("blocks") else MAX_SIZE
        _check_within(sizes, 1, most, key)


def _check_within(value: float, low: float, high: float, key: str) -> None:
    if not low <= value <= high:
        raise MisfitError(f"{key} must lie between {low:g} and {high:g}, not at {value}")


def _check_table(table: ConditionTable, key: str) -> None:
    for name, edges in (("position_edges", table.position_edges), ("load_edges", table.load_edges)):
        if len(edges) < 2 or list(edges) != sorted(edges):
            raise MisfitError(f"{key}.{name} must rise, from the first edge to the last")
        if edges[0] < 0 or edges[-1] > 1:
            raise MisfitError(f"{key}.{name} must lie between 0 and 1, not from {edges[0]} to {edges[-1]}")
    if len(table.counts) != len(table.position_edges) - 1:
        raise MisfitError(f"{key}.counts must have one row for each position bin")
    if {len(row) for row in table.counts} != {len(table.load_edges)}:
        raise MisfitError(f"{key}.counts must have one column for each load bin")
    counts = [count for row in table.counts for count in row]
    if min(counts) < 0 or max(counts) == 0 or max(counts) > MAX_COUNT:
        raise MisfitError(f"{key}.counts must be from 0 to {MAX_COUNT:g}, and not all 0")
    _check_within(table.lesions_across, 0, 1, f"{key}.lesions_across")
    for name, rows in table.places.items():
        if name not in {NAMES[structure] for structure in STRUCTURES}:
            raise MisfitError(f"{key}.places.{name} is no structure of a fixed place")
        if len(rows) != len(table.counts) or not all(re.fullmatch(f"[0-9a-f]{{{DIGITS}}}", row) for row in rows):
            raise MisfitError(f"{key}.places.{name} must have {DIGITS} hexadecimal digits for each position bin")


def _check_solver(solver: Solver, steps: int, key: str) -> None:
    if not solver.timesteps or list(solver.timesteps) != sorted(set(solver.timesteps), reverse=True):
        raise MisfitError(f"{key}.timesteps must fall, from the first to the last")
    if solver.timesteps[0] >= steps or solver.timesteps[-1] < 0:
        raise MisfitError(f"{key}.timesteps must lie between 0 and {steps - 1}")
    if [len(row) for row in solver.weights] != [k + 2 for k in range(solver.steps)]:
        raise MisfitError(f"{key}.weights must have a row for each timestep, of 2, 3, 4, ... numbers")
    for index, row in enumerate(solver.weights):
        for weight in row:
            _check_within(weight, -MAX_WEIGHT, MAX_WEIGHT, f"{key}.weights[{index}]")
