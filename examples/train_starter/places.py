"""Put into a bundle where deep grey matter and brainstem lie in the people that its denoisers learnt from.

    python examples/train_starter/places.py WORK/slices weights/

For weights that were trained before `train-labels` counted it. Nothing but config.json changes. SLICES must train on
the people that the weights learnt from, and on nobody else.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.errors import InputError
from brainspade_cli.presets import preset
from brainspade_cli.slices import open_slice_set
from brainspade_cli.training.batches import label_table
from brainspade_cli.training.denoiser import structures_of
from brainspade_cli.weights import open_bundle


def main(slices: Path, weights: Path) -> None:
    """Count places for each denoiser of `weights`, and print for which structures there are any."""
    found, config = open_slice_set(slices), open_bundle(str(weights)).config
    if others := set(found.people("train")) ^ set(config.people.train):
        raise InputError(f"{slices} and {weights} differ in whom they train on, such as {min(others)}.")
    fraction = preset(config.preset).labels.tumour_fraction
    tables = {
        population: replace(table, places=structures_of(label_table(found, population, fraction)))
        for population, table in config.conditions.items()
    }
    create_or_update_bundle(weights, config_updates={"conditions": tables}, networks={})
    for population, table in tables.items():
        print(f"{population}: {', '.join(table.places) or 'no structures'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("weights", type=Path)
    main(**vars(parser.parse_args()))
