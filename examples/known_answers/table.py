"""What `brainspade evaluate` says of sets of which it is known how good they are, made from slices of real people.

    python examples/known_answers/table.py SLICES [--channel flair] [--population tumour] [--slices 600]

The people of a slice set that `brainspade prepare` made are dealt out to two halves. One half, and what is made of it,
is held against the other. Prints Markdown; a star marks what lies outside the spread between halves of these people.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from known_sets import SETS, Answers, answers, gather

from brainspade_cli.evaluating.read_slice_set import real_slices
from brainspade_cli.evaluating.slice_source import evenly
from brainspade_cli.slices import open_slice_set

FIGURES = (
    "labels", "labels/place", "frechet", "kernel", "precision", "recall", "coverage",
    "agreement", "contrast", "distinct",
)  # fmt: skip


def main(arguments: argparse.Namespace) -> None:
    source = real_slices(
        open_slice_set(arguments.slice_set),
        (arguments.channel,),
        split="all",
        population=arguments.population,
        most=2 * arguments.slices,
    )
    slices = [read() for read in source.readers]
    halves = [[item for item in slices if source.people.index(item.person) % 2 == half] for half in (0, 1)]
    made, others = ([half[place] for place in evenly(len(half), arguments.slices)] for half in halves)
    real = gather(others, arguments.channel)
    print(
        f"{len(made)} slices of {len(source.people[::2])} people against {len(others)} of {len(source.people[1::2])}\n"
    )
    print(f"| | {' | '.join(FIGURES)} |\n|{'---|' * (len(FIGURES) + 1)}")
    for name, change in SETS.items():
        found = answers(gather(change(made), arguments.channel), real, arguments.channel)
        print(f"| {name} | {' | '.join(_shown(found, figure) for figure in FIGURES)} |", flush=True)


def _shown(found: Answers, figure: str) -> str:
    return f"{found.figures[figure]:.3g}{'*' if found.verdicts.get(figure) is False else ''}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slice_set", type=Path, help="a slice set made by `brainspade prepare`")
    parser.add_argument("--channel", default="flair")
    parser.add_argument("--population", choices=("healthy", "tumour", "all"), default="tumour")
    parser.add_argument("--slices", type=int, default=600, help="slices of each half")
    return parser


if __name__ == "__main__":
    main(_parser().parse_args())
