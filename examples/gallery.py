"""Make examples/gallery.png, the picture in the README: four healthy pairs and four with a tumour, two channels each.

    python examples/gallery.py [OUT.png] [--weights WEIGHTS]

The styles are the synthetic volumes of the quickstart.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
STYLES = ("t1=t1.nii.gz", "flair=flair.nii.gz")


def preview(folder: Path, *options: str) -> np.ndarray:
    """Sample four pairs into `folder`; returns the preview of the run as an array."""
    styles = [name.replace("=", f"={HERE / 'quickstart'}/") for name in STYLES]
    command = [
        "brainspade",
        "sample",
        "--style",
        *styles,
        "--n",
        "4",
        "--out",
        str(folder),
        "--quiet",
        "--seed",
        "9",
        *options,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return np.asarray(Image.open(folder / "brainspade" / "preview.png"))


def main(out: Path, options: list[str]) -> None:
    """Write the gallery to `out`."""
    with tempfile.TemporaryDirectory() as folder:
        healthy = preview(Path(folder) / "healthy", *options)
        tumour = preview(Path(folder) / "tumour", "--tumour", "--tumour-fraction", "1", *options)
    Image.fromarray(np.concatenate([healthy, tumour])).save(out, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=HERE / "gallery.png")
    parser.add_argument("--weights")
    arguments = parser.parse_args()
    main(arguments.out, ["--weights", arguments.weights] if arguments.weights else [])
