"""The stage that trains a label denoiser (paper 2.2): it predicts the noise, or velocity, of standardised latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from brainspade_cli.bundle_config import ConditionTable, LatentStatistics
from brainspade_cli.diffusion import NoiseSchedule, sample_latents
from brainspade_cli.lesion_sides import across
from brainspade_cli.networks.configs import to_dict
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.networks.label_denoiser import LabelDenoiser
from brainspade_cli.structure_places import count_places
from brainspade_cli.training import losses
from brainspade_cli.training.atlas import latent_atlas
from brainspade_cli.training.autoencoder import NAME as AUTOENCODER
from brainspade_cli.training.batches import LabelTable
from brainspade_cli.training.checkpoints import newest_checkpoint
from brainspade_cli.training.latents import LatentStore, copy_settings
from brainspade_cli.training.loop import Batch, Plan, Stage, Update, step_generator
from brainspade_cli.training.pictures import label_rows
from brainspade_cli.training.rates import trapezoid
from brainspade_cli.training.run import Run

NAME = "denoiser"
SHOWN = 8
POSITION_BINS = 16
LOAD_BINS = 8
# More slices tell hardly more of where structures lie, and reading as many takes a minute.
MOST_PLACED = 20_000


def stage_name(population: str) -> str:
    """Name of the stage, and of its folder, for "healthy" or "tumour"."""
    return f"{NAME}-{population}"


def denoiser_settings(run: Run, table: LabelTable) -> dict[str, Any]:
    """What a checkpoint of this stage must agree with to be resumed.

    Its autoencoder's is among it where that has been trained: of another one's latents a denoiser knows nothing.
    """
    autoencoder = newest_checkpoint(run.folder(AUTOENCODER))
    return {
        **({} if autoencoder is None else {"autoencoder": autoencoder[1]["sha256"]}),
        "denoiser": to_dict(run.preset.denoiser),
        "schedule": to_dict(run.preset.schedule),
        "copies": copy_settings(run.preset.labels),
        **run.origin(table.records),
    }


def train_denoiser(
    run: Run,
    population: str,
    table: LabelTable,
    store: LatentStore,
    statistics: LatentStatistics,
    autoencoder: LabelAutoencoder,
    *,
    steps: int,
    initial: Mapping[str, Tensor] | None,
) -> LabelDenoiser:
    """Train, or finish training, the denoiser of one population; returns its moving average, in evaluation mode.

    `initial` are weights to start from, None for fresh ones. Each draw picks a slice, one of its copies, a timestep
    and noise; the conditions are dropped with the preset's probability (guidance).
    """
    settings, device = run.preset.labels, run.machine.device
    schedule = NoiseSchedule(run.preset.schedule)
    network = run.build(stage_name(population), lambda: LabelDenoiser(run.preset.denoiser))
    if initial is not None:
        network.load_state_dict(initial)
    mean = torch.tensor(statistics.mean)[:, None, None]
    std = torch.tensor(statistics.std)[:, None, None]
    # A checkpoint has the atlas with the rest of the network.
    if network.has_atlas and newest_checkpoint(run.folder(stage_name(population))) is None:
        atlas = latent_atlas(store, table.people(), mean, std)
        if run.start is not None:
            # Where the new people are too few to be averaged, those of the start were not.
            known = atlas.flatten(1).any(dim=1)[:, None, None, None]
            atlas = torch.where(known, atlas, network.atlas)
        network.atlas.copy_(atlas)
    shape = store.mean.shape[2:]

    def draw(generator: torch.Generator) -> Plan:
        count = settings.denoiser_batch
        return {
            "rows": table.draw(count, generator),
            "copies": torch.randint(store.copies, (count,), generator=generator),
            "timesteps": torch.randint(schedule.steps, (count,), generator=generator),
            "keep": torch.rand(count, generator=generator) >= settings.condition_dropout,
            "noise": torch.randn(count, *shape, generator=generator),
        }

    def load(plan: Plan) -> Batch:
        latents = (store.latents(plan["rows"], plan["copies"]) - mean) / std
        batch = {name: plan[name] for name in ("timesteps", "keep", "noise")}
        batch |= {"latents": latents, "conditions": store.told(plan["rows"], plan["copies"])}
        return {name: value.to(device) for name, value in batch.items()}

    def loss(batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        latents, noise, timesteps = batch["latents"], batch["noise"], batch["timesteps"]
        predicted = network(
            schedule.add_noise(latents, noise, timesteps), timesteps, batch["conditions"], batch["keep"]
        )
        if schedule.config.prediction == "noise":
            value = losses.noise_l1(predicted, noise)
            return value, {"noise_l1": value}
        value = losses.velocity_mse(predicted, schedule.velocity(latents, noise, timesteps))
        return value, {"velocity_mse": value}

    shown = table.conditions[table.draw(SHOWN, step_generator(run.seed, f"{stage_name(population)} shown", 0))].to(
        device
    )

    def picture(networks: Mapping[str, nn.Module]) -> Image:
        model = networks[NAME]
        generators = [step_generator(run.seed, f"{stage_name(population)} noise", index) for index in range(SHOWN)]
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)
        with run.machine.autocast():
            latents = sample_latents(
                lambda x, t: model(x, t, shown, None),
                noise,
                schedule=schedule,
                sampler="unipc",
                generators=generators,
                limit=statistics.limit,
            )
            return label_rows([autoencoder.decode_maps(latents * std.to(device) + mean.to(device)).cpu()])

    stage = Stage(
        name=stage_name(population),
        steps=steps,
        modules={NAME: network},
        updates=(Update(NAME, (NAME,), trapezoid(settings.denoiser_rate, settings.warmup_steps, steps), loss),),
        draw=draw,
        load=load,
        settings=denoiser_settings(run, table),
        averaged=(NAME,),
        ema_decay=settings.ema_decay,
        gradient_clip=settings.gradient_clip,
        picture=picture,
    )
    trained = run.train(stage)[NAME]
    assert isinstance(trained, LabelDenoiser)
    return trained


def condition_table(table: LabelTable) -> ConditionTable:
    """Joint histogram of the table's slices over position and lesion load, each slice weighted as it is drawn.

    16 position bins from 0 to 1. Load column 0 counts slices without a lesion; column j > 0 those with a load between
    `load_edges[j - 1]` and `load_edges[j]`, which are quantiles of the loads there are, so that columns fill evenly.
    """
    weights = np.zeros(len(table))
    for group in table.groups:
        weights[group.rows.numpy()] += group.weight / len(group.rows)
    position, present, load = table.conditions.double().numpy().T
    rows = _position_bins(position)
    with_lesion = present > 0.5
    edges = np.array([0.0, 1.0])
    if with_lesion.any():
        edges = np.unique(np.quantile(load[with_lesion], np.linspace(0, 1, LOAD_BINS + 1)))
        edges = edges if len(edges) > 1 else np.array([edges[0], np.nextafter(edges[0], 1)])
    columns = np.where(with_lesion, 1 + np.clip(np.searchsorted(edges, load, side="right") - 1, 0, len(edges) - 2), 0)
    counts = np.zeros((POSITION_BINS, len(edges)))
    np.add.at(counts, (rows, columns), weights * len(table))
    return ConditionTable(
        position_edges=tuple(np.linspace(0, 1, POSITION_BINS + 1).tolist()),
        load_edges=tuple(edges.tolist()),
        counts=tuple(tuple(row) for row in counts.tolist()),
        lesions_across=_share_across(table, np.flatnonzero(with_lesion)),
        places=structures_of(table),
    )


def structures_of(table: LabelTable) -> dict[str, tuple[str, ...]]:
    """Where structures lie in the table's slices, or in `MOST_PLACED` of them, spread evenly (`structure_places`)."""
    heights, people = _position_bins(table.conditions[:, 0].double().numpy()), table.people().tolist()
    chosen = range(0, len(table), 1 + len(table) // MOST_PLACED)
    return count_places(((heights[row], people[row], table.label(row)) for row in chosen), POSITION_BINS)


def _position_bins(position: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.clip((position * POSITION_BINS).astype(np.int64), 0, POSITION_BINS - 1)


def _share_across(table: LabelTable, rows: NDArray[np.intp]) -> float:
    """Share of the table's `rows` that have lesions across the midline from the largest; 1 of none."""
    if not len(rows):
        return 1.0
    return float(np.mean([across(table.label(row)).any() for row in rows.tolist()]))
