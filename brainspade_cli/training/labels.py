"""`brainspade train-labels`: the autoencoder of label maps, then a denoiser for each population."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from brainspade_cli.bundle import read_config
from brainspade_cli.bundle_config import CONFIG_FILE, ConditionTable, LatentStatistics, Solver
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError
from brainspade_cli.structure_places import join_places
from brainspade_cli.training.autoencoder import NAME as AUTOENCODER
from brainspade_cli.training.autoencoder import finished_autoencoder, train_autoencoder
from brainspade_cli.training.batches import POPULATIONS, LabelTable, label_table, label_table_of_all
from brainspade_cli.training.checkpoints import check_settings
from brainspade_cli.training.decoder import NAME as DECODER
from brainspade_cli.training.decoder import train_decoder
from brainspade_cli.training.denoiser import condition_table, denoiser_settings, stage_name, train_denoiser
from brainspade_cli.training.latents import latent_statistics, open_latents
from brainspade_cli.training.perceptual import PerceptualLoss, feature_extractor
from brainspade_cli.training.run import Run, TrainingRequest, open_run
from brainspade_cli.training.solver import denoiser_solver
from brainspade_cli.weights import open_bundle

# What a bundle tells of how its autoencoder came about; the last is a scaling of its last layer
# (examples/train_starter/sharpen.py).
_OF_AUTOENCODER = (AUTOENCODER, DECODER, "sharpened")


def train_labels(request: TrainingRequest, population: str, reporter: Reporter) -> dict[str, Any]:
    """Train the label generator on a slice set, and put it into the weights bundle; return what was trained.

    The stages are the autoencoder, its decoder further where the preset says so, and a denoiser for each population.
    `population` ("healthy", "tumour" or "both") chooses the denoisers; the autoencoder learns from every labelled
    training slice, for both denoisers share it. Each denoiser gets a sampler of its own (`fitted_sampler`). The
    request's `steps` are those of each denoiser. A finished denoiser is resumed where `steps` is higher than before. A
    finished autoencoder and its latent statistics are kept though the slice set has other scans by now; a denoiser is
    never resumed with others.

    Of weights to start from, the denoisers are trained further. Their autoencoder and latent statistics are taken over
    as they are, for a denoiser knows one latent space.

    Raises InputError for arguments that cannot be used, SliceSetError for slices that cannot, TrainingError where a
    loss is not a finite number.
    """
    if population not in (*POPULATIONS, "both"):
        raise InputError(f"There is no population '{population}'; choose healthy, tumour or both.")
    chosen = POPULATIONS if population == "both" else (population,)
    with_decoder = request.preset.labels.decoder_steps > 0 and request.start_from is None
    stages = (AUTOENCODER, *([DECODER] if with_decoder else []), *(stage_name(name) for name in chosen))
    parts = ("label_autoencoder", *(f"denoiser_{name}" for name in chosen))
    run = open_run(request, stages, parts, reporter)
    preset = run.preset
    run.machine.share_of(preset.labels.denoiser_batch)
    if with_decoder or (run.start is None and finished_autoencoder(run) is None):
        run.machine.share_of(preset.labels.autoencoder_batch)
    fraction = preset.labels.tumour_fraction
    everything = label_table_of_all(run.slice_set, fraction)
    tables = {name: label_table(run.slice_set, name, fraction) for name in chosen}
    run.reporter.say(
        f"{len(everything)} labelled training slices of {len(everything.records)} scans; " + _sizes(tables)
    )

    for name in chosen:
        found = check_settings(run.folder(stage_name(name)), denoiser_settings(run, tables[name]))
        if found is not None and run.start is None and finished_autoencoder(run) is None:
            raise InputError(
                f"{found[0]} knows the latents of an autoencoder that this preset would train further, or whose last"
                " checkpoint is damaged; resume with the same preset, or train into another folder."
            )

    kept = _kept_statistics(run) if run.start is None else run.start.latent()
    fresh = run.start is None and finished_autoencoder(run) is None
    autoencoder = train_autoencoder(run, everything, _perceptual(run) if fresh else None)
    statistics = latent_statistics(run, autoencoder, everything) if kept is None else kept
    trained = _autoencoder_stages(run)
    if with_decoder:
        autoencoder = train_decoder(run, autoencoder, everything, statistics)
        trained[DECODER] = {"steps": run.steps_of(DECODER)}
    run.update_bundle(
        {
            "networks": {name: getattr(preset, name) for name in ("autoencoder", "denoiser", "schedule")},
            "latent": statistics,
            "stages": trained,
        },
        {"label_autoencoder": autoencoder.state_dict()},
    )

    count = preset.labels.denoiser_steps if request.steps is None else request.steps
    for name in chosen:
        store = open_latents(run, autoencoder, tables[name], everything, name)
        denoiser = train_denoiser(
            run, name, tables[name], store, statistics, autoencoder, steps=count, initial=_initial(run, name)
        )
        done = {stage_name(name): {"steps": run.steps_of(stage_name(name))}}
        trained |= done
        run.update_bundle(
            {"conditions": {name: _conditions(run, name, tables[name])}, "stages": done},
            {f"denoiser_{name}": denoiser.state_dict()},
        )
        _fit_sampler(run, name)
    return {
        "out": str(run.out),
        "stages": {stage: entry["steps"] for stage, entry in trained.items() if "steps" in entry},
        "slices": len(everything),
    }


def _autoencoder_stages(run: Run) -> dict[str, dict[str, Any]]:
    """What is told of how the autoencoder came about; of one that was taken over, what its weights tell of it."""
    if run.start is not None:
        stages = run.start.config.stages.items()
        return {name: entry for name, entry in stages if name in _OF_AUTOENCODER}
    finished = finished_autoencoder(run)
    assert finished is not None, "a trained autoencoder leaves a checkpoint of its last step"
    perceptual = finished["settings"].get("perceptual")
    return {AUTOENCODER: {"steps": finished["step"]} | ({"perceptual": perceptual} if perceptual else {})}


def _conditions(run: Run, population: str, table: LabelTable) -> ConditionTable:
    """The table's conditions; structures also lie where they did in people whom the run's start had learnt from."""
    counted = condition_table(table)
    if run.start is None:
        return counted
    return replace(counted, places=join_places(counted.places, run.start.conditions(population).places))


def _fit_sampler(run: Run, population: str) -> None:
    """Give the bundle's denoiser its sampler, unless it has one: that of another denoiser left with that denoiser."""
    solvers: dict[str, Solver] = {}
    if run.machine.is_main and population not in (bundle := open_bundle(str(run.out))).config.solvers:
        count, device = run.preset.labels.solver_labels, run.machine.device
        solver = denoiser_solver(bundle, population, count=count, seed=run.seed, device=device, reporter=run.reporter)
        solvers |= {population: solver} if solver else {}
    # By all processes, for they wait for each other there.
    run.update_bundle({"solvers": solvers}, {})


def _kept_statistics(run: Run) -> LatentStatistics | None:
    """The bundle's latent statistics if its autoencoder is the finished one, else None.

    Denoisers that are there already were trained on latents standardised by these, so later scans must not move them.
    """
    finished = finished_autoencoder(run)
    if finished is None or not (run.out / CONFIG_FILE).exists():
        return None
    config = read_config(run.out)
    same = config.stages.get(AUTOENCODER, {}).get("steps") == finished["step"]
    return config.latent if same else None


def _initial(run: Run, population: str) -> dict[str, Any] | None:
    """Weights that a denoiser starts from, None for fresh ones.

    Those that the run starts from, or for tumours the healthy one's, where the preset says so and there is one.
    """
    if run.start is not None:
        return run.start.network(f"denoiser_{population}").state_dict()
    if population != "tumour" or not run.preset.labels.tumour_from_healthy:
        return None
    bundle = open_bundle(str(run.out))
    return bundle.network("denoiser_healthy").state_dict() if bundle.has("denoiser_healthy") else None


def _perceptual(run: Run) -> PerceptualLoss | None:
    """The autoencoder's perceptual loss, or None with a warning where no network for it is installed."""
    if run.preset.labels.perceptual_weight == 0:
        return None
    try:
        return PerceptualLoss(feature_extractor("auto")).to(run.machine.device)
    except InputError as error:
        run.reporter.warn(f"the autoencoder trains without its perceptual loss: {error}")
        return None


def _sizes(tables: dict[str, Any]) -> str:
    return ", ".join(f"{name} {len(table)}" for name, table in tables.items())
