"""Write the table of people for the starter weights: which files, which person, and who is held out of every training.

    python examples/train_starter/people.py DATA people.tsv

DATA holds the folders oasis/, brats/ and synthseg/, one folder sub-* per scan.
"""

import argparse
import csv
from pathlib import Path

# Second scans of the same person.
SAME_PERSON = {"sub-1023": "sub-1003", "sub-1024": "sub-1004", "sub-1038": "sub-1018"}
# Four OASIS people (sub-1119 has the wide ventricles of old age), six BraTS patients with every one of site TCIA01
# among them, two people who have label maps only.
HELD_OUT = {
    "oasis": {"sub-1003", "sub-1007", "sub-1101", "sub-1119"},
    "brats": {
        "sub-TCIA01_201_1",
        "sub-TCIA01_378_1",
        "sub-TCIA01_425_1",
        "sub-TCIA01_499_1",
        "sub-CBICA_AQO_1",
        "sub-CBICA_ARZ_1",
    },
    "synthseg": {"sub-15", "sub-16"},
}
FILES = ("t1", "flair", "tissues", "regions", "tumour")


def main(data: Path, table: Path) -> None:
    """Write `table`, a TSV for `brainspade prepare`, with one row per scan found in `data`."""
    with open(table, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, delimiter="\t")
        writer.writerow(("subject", "dataset", "person", "split", *FILES))
        for dataset, held_out in HELD_OUT.items():
            for folder in sorted((data / dataset).glob("sub-*")):
                person = SAME_PERSON.get(folder.name, folder.name)
                split = "held-out" if person in held_out else "train"
                paths = (folder / f"{name}.nii.gz" for name in FILES)
                cells = (str(path.resolve()) if path.is_file() else "" for path in paths)
                writer.writerow((folder.name, dataset, f"{dataset}/{person}", split, *cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("table", type=Path)
    arguments = parser.parse_args()
    main(arguments.data, arguments.table)
