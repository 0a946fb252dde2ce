"""Copy a trained bundle into the package's weights/ folder, with its name and terms in config.json.

python examples/train_starter/publish.py WORK/weights weights/ WORK/slices

With the slice set, the bundle gets codes of the training slices, so that datasets can be audited without it.
"""

import argparse
from pathlib import Path

from brainspade_cli.auditing.weights_codes import add_training_codes
from brainspade_cli.bundle_update import copy_bundle, create_or_update_bundle
from brainspade_cli.console import Reporter

NAME = "brainspade-starter"
TERMS = (
    "Research, non-commercial. Trained on OASIS (CC BY-NC 3.0; labels by Neuromorphometrics, Inc.), BraTS 2018"
    " (research with citation) and label maps of the SynthSeg repository (Apache-2.0)."
)


def main(trained: Path, target: Path, slices: Path | None = None) -> None:
    """Name the bundle in `trained` and copy its own files, and nothing of its training, to `target`."""
    if slices is not None:
        add_training_codes(trained, slices, Reporter())
    bundle = create_or_update_bundle(trained, config_updates={"name": NAME, "licence": TERMS}, networks={})
    copy_bundle(bundle, target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("slices", type=Path, nargs="?")
    arguments = parser.parse_args()
    main(arguments.trained, arguments.target, arguments.slices)
