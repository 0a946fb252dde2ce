"""Count again what a bundle's config.json says of the labels that its denoisers learnt from.

    python examples/train_starter/conditions.py WORK/slices weights/ [--labels K] [--seed K] [--device NAME]

For weights that were trained before all of it was counted: how heights and loads of lesions go together, how often
lesions lie on both sides, where structures of a fixed place lie, and by how much drawn lesions fall short of what is
asked for, over K labels. Nothing but config.json changes. SLICES must hold the people that the weights learnt from.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from brainspade_cli.bundle_update import create_or_update_bundle
from brainspade_cli.devices import open_compute
from brainspade_cli.errors import InputError
from brainspade_cli.presets import preset
from brainspade_cli.slices import open_slice_set
from brainspade_cli.training.batches import label_table
from brainspade_cli.training.denoiser import condition_table
from brainspade_cli.training.shortfall import lesion_shortfall
from brainspade_cli.weights import open_bundle


def main(slices: Path, weights: Path, labels: int = 256, seed: int = 0, device: str = "auto") -> None:
    """Put a new table for each denoiser of `weights` into its config.json, and print what was not in it."""
    found, bundle, compute = open_slice_set(slices), open_bundle(str(weights)), open_compute(device)
    if missing := set(bundle.config.people.train) - set(found.people("train")):
        raise InputError(f"{slices} lacks {len(missing)} people that {weights} learnt from, {min(missing)} among them.")
    fraction = preset(bundle.config.preset).labels.tumour_fraction
    for population in bundle.config.conditions:
        table = condition_table(label_table(found, population, fraction))
        bundle = create_or_update_bundle(weights, config_updates={"conditions": {population: table}}, networks={})
        if population == "tumour":
            short = lesion_shortfall(bundle, count=labels, seed=seed, compute=compute)
            print(f"Lesions fall short by {short:.2%} of the brain.")
            table = replace(table, lesion_shortfall=short)
            bundle = create_or_update_bundle(weights, config_updates={"conditions": {population: table}}, networks={})
        print(f"{population}: {', '.join(table.places) or 'no structures'} placed.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--labels", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    main(**vars(parser.parse_args()))
