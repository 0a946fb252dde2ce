"""Train the decoder of trained weights further, and leave every other network as it is.

python examples/train_starter/decoder.py WORK/slices weights/ WORK/decoder

The new bundle is then in WORK/decoder, without codes of training slices: `publish.py` puts them in. Stop it at any
time; the same command goes on. It runs in one process.
"""

import argparse
from pathlib import Path

from brainspade_cli.bundle_update import copy_bundle, create_or_update_bundle
from brainspade_cli.console import Reporter
from brainspade_cli.presets import Preset, preset
from brainspade_cli.training.autoencoder import NAME as AUTOENCODER
from brainspade_cli.training.autoencoder import train_autoencoder
from brainspade_cli.training.batches import label_table_of_all
from brainspade_cli.training.decoder import NAME as DECODER
from brainspade_cli.training.decoder import train_decoder
from brainspade_cli.training.run import TrainingRequest, open_run


def main(slices: Path, weights: Path, out: Path, settings: Preset, device: str = "auto") -> None:
    """Train the decoder of `weights` for the preset's `decoder_steps`; put it and all else of them into `out`."""
    request = TrainingRequest(slices, out, settings, resume=True, start_from=str(weights), device=device)
    run = open_run(request, (AUTOENCODER, DECODER), ("label_autoencoder",), Reporter())
    start = run.start
    assert start is not None, "the run starts from the weights"
    table = label_table_of_all(run.slice_set, run.preset.labels.tumour_fraction)
    autoencoder = train_decoder(run, train_autoencoder(run, table, None), table, start.latent())
    copy_bundle(start, out)
    steps = start.config.stages.get(DECODER, {}).get("steps", 0) + run.preset.labels.decoder_steps
    create_or_update_bundle(
        out,
        config_updates={"stages": {DECODER: {"steps": steps}}, "people": run.people()},
        networks={"label_autoencoder": autoencoder.state_dict()},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    main(arguments.slices, arguments.weights, arguments.out, preset("starter"))
