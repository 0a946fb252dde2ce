"""Train the decoder of trained weights further, and leave every other network as it is.

python examples/train_starter/decoder.py WORK/slices weights/ WORK/decoder

The new bundle, whole, is then in WORK/decoder. Stop it at any time; the same command goes on.
"""

import shutil
import sys
from pathlib import Path

from brainspade_cli.bundle_config import CONFIG_FILE, MADE_BY
from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.networks.label_autoencoder import LabelAutoencoder
from brainspade_cli.presets import preset
from brainspade_cli.training.autoencoder import NAME as AUTOENCODER
from brainspade_cli.training.autoencoder import train_autoencoder
from brainspade_cli.training.batches import label_table_of_all
from brainspade_cli.training.decoder import NAME as DECODER
from brainspade_cli.training.decoder import train_decoder
from brainspade_cli.training.run import TrainingRequest, open_run
from brainspade_cli.weights import open_bundle

DENOISERS = tuple(name for name in MADE_BY if name.startswith("denoiser_"))


def main(slices: Path, weights: Path, out: Path) -> None:
    """Train the decoder of `weights` for the `starter` preset's steps, and put it and all else of them into `out`."""
    request = TrainingRequest(slices, out, preset("starter"), resume=True, start_from=str(weights))
    run = open_run(request, (AUTOENCODER, DECODER), ("label_autoencoder",), Reporter())
    start = open_bundle(str(weights))
    table = label_table_of_all(run.slice_set, run.preset.labels.tumour_fraction)
    autoencoder: LabelAutoencoder = train_autoencoder(run, table, None)
    autoencoder = train_decoder(run, autoencoder, table, start.latent())
    for file in (*start.config.sha256, CONFIG_FILE):
        shutil.copyfile(weights / file, out / file)
    steps = start.config.stages.get(DECODER, {}).get("steps", 0) + run.preset.labels.decoder_steps
    # Denoisers know one autoencoder, so that they must come with it; its encoder is the one that they know.
    denoisers = {name: start.network(name).state_dict() for name in DENOISERS if start.has(name)}
    create_or_update_bundle(
        out,
        config_updates={"stages": {DECODER: {"steps": steps}}},
        networks={"label_autoencoder": autoencoder.state_dict(), **denoisers},
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
