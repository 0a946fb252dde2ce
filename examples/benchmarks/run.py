"""How fast is `brainspade sample` on this machine, where does the time go, and how many evaluations does it need?

    python examples/benchmarks/run.py [--weights WEIGHTS] [--tumour] [--pairs 200 2000] [--parts speed shares ...]
    python examples/benchmarks/run.py --tumour --style t1.nii.gz flair.nii.gz --pairs 20000 --parts commands

Everything is measured side by side in one run; look at the ratios, for seconds are those of one machine on one day.
Prints Markdown, and writes it with the plot of the curve to the folder given by --out.

speed     pairs a second of our default, of DDIM in 80 steps, float32, eager, batches of 64, and of the same one by one
shares    time by part, parameters and FLOPs, and how far from the device's limit that is
changes   what each change bought: our default with one of them taken back at a time
commands  the whole command at each N: seconds, the first pair on disk, peak memory
curve     label statistics against the number of evaluations (the references of 1000 take long; they are kept)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from baseline import PlainWay, plain_way
from changes import seconds_without
from commands import sample_command
from curve import COUNTS, curve, planned, plot
from shares import busy_seconds, flops, parameters, peak_flops, request_for

from brainspade_cli.bundle import Bundle
from brainspade_cli.console import Reporter
from brainspade_cli.devices import Compute, open_compute
from brainspade_cli.errors import BrainspadeError
from brainspade_cli.sampling.plan import PairPlan
from brainspade_cli.sampling.sample import run_sampling
from brainspade_cli.sampling.solvers import resolved
from brainspade_cli.styles.arguments import channels_of, parse_styles
from brainspade_cli.styles.pool import load_styles
from brainspade_cli.weights import open_bundle

STYLE = Path(__file__).parent.parent / "quickstart" / "flair.nii.gz"
PARTS = ("speed", "shares", "changes", "commands", "curve")


def seconds_of_ours(options: dict[str, Any], args: argparse.Namespace) -> float:
    """Seconds a pair of our default, what is done once a run left out: opening weights and styles, and the preview."""
    pairs, walls = args.pairs[0], []
    # The first run, which is not counted, loads what later ones find loaded.
    for number in (1, pairs, 2 * pairs):
        with tempfile.TemporaryDirectory() as folder:
            request = request_for(args.style, Path(folder) / "Dataset501_ours", number, options)
            begun = time.perf_counter()
            run_sampling(request, Reporter(quiet=True))
            walls.append(time.perf_counter() - begun)
    if walls[2] <= walls[1]:
        raise BrainspadeError(
            f"{2 * pairs} pairs took no longer than {pairs}: too few to tell how fast they are made, or other work"
            " slows this machine; give --pairs a larger number."
        )
    return (walls[2] - walls[1]) / pairs


def speed(bundle: Bundle, compute: Compute, ours: float, args: argparse.Namespace) -> list[str]:
    """Our default against the baseline, and against what of the baseline passes the checks that all of ours passes."""
    reporter = Reporter()
    styles = load_styles(bundle, parse_styles(args.style), reporter)
    rows = [("our default", PlainWay(ours, 1.0))]
    reporter.say(f"our default: {1 / ours:.2f} pairs a second")
    for batch, number in ((min(64, args.baseline_pairs), args.baseline_pairs), (1, 4)):
        with tempfile.TemporaryDirectory() as folder:
            way = plain_way(bundle, styles, Path(folder), compute.device, tumour=args.tumour, batch=batch, pairs=number)
        rows.append((f"DDIM-80, fp32, eager, batch {batch}", way))
        reporter.say(f"batch {batch}: {1 / way.seconds:.2f} pairs a second")
    lines = [
        "| | pairs a second | ours is faster by | labels that pass our checks | such pairs a second: faster by |",
        "|---|---|---|---|---|",
    ]
    for name, way in rows:
        slower = way.seconds / ours
        useful = f"{slower / way.passed:.1f}" if way.passed else "-"
        lines.append(f"| {name} | {1 / way.seconds:.2f} | {slower:.1f} | {way.passed:.0%} | {useful} |")
    return lines


def shares(
    bundle: Bundle, compute: Compute, ours: float, options: dict[str, Any], args: argparse.Namespace
) -> list[str]:
    """Time by part, and the distance to the device's limit."""
    plan: PairPlan = options["plan"]
    steps = resolved(plan, bundle).steps
    pairs, channels = args.pairs[0], len(channels_of(parse_styles(args.style)))
    with tempfile.TemporaryDirectory() as folder:
        request = request_for(args.style, Path(folder) / "Dataset501_shares", pairs, options)
        seconds, total = busy_seconds(request, compute.device)
    seconds["everything else"] = max(0.0, total - sum(seconds.values()))
    operations, counts = flops(bundle, compute, plan.population), parameters(bundle, plan.population)
    # A faint oedema takes two images, and lesions without one are rare.
    twice = plan.tumour_fraction * plan.faint_fraction if plan.tumour else 0.0
    repeats = {"denoiser": steps, "decoder": 1, "painter": channels * (1 + twice)}
    lines = ["| part | share | ms a pair | parameters | GFLOPs a pair |", "|---|---|---|---|---|"]
    for part, value in seconds.items():
        size = f"{counts[part] / 1e6:.2f} M" if part in counts else ""
        work = f"{operations[part] * repeats[part] / 1e9:.1f}" if part in operations else ""
        lines.append(f"| {part} | {value / total:.0%} | {1000 * value / pairs:.1f} | {size} | {work} |")
    needed = sum(operations[part] * repeats[part] for part in operations)
    peak = peak_flops(compute)
    return [
        *lines,
        "",
        f"{1 / ours:.2f} pairs a second take {needed / ours / 1e9:.0f} GFLOP/s, labels drawn again apart; "
        f"a large matrix product reaches {peak / 1e9:.0f} GFLOP/s in {compute.precision} on {compute.describe()}: "
        f"{needed / ours / peak:.0%} of the limit.",
    ]


def bought(compute: Compute, options: dict[str, Any], args: argparse.Namespace) -> list[str]:
    """Our default with one change taken back at a time."""
    rows = seconds_without(request_for(args.style, Path(), args.pairs[0], options), compute.device)
    lines = ["| taken back | pairs a second | the change makes it faster by |", "|---|---|---|"]
    for name, seconds in rows:
        lines.append(f"| {name} | {args.pairs[0] / seconds:.2f} | {seconds / rows[0][1]:.2f} |")
    return lines


def commands(args: argparse.Namespace, extra: list[str]) -> list[str]:
    """The whole command at each number of pairs."""
    lines = ["| N | seconds | seconds a pair | first pair on disk after | peak memory |", "|---|---|---|---|---|"]
    for pairs in args.pairs:
        with tempfile.TemporaryDirectory() as folder:
            run = sample_command(args.style, Path(folder) / "Dataset501_command", pairs, extra)
        each, memory = run.seconds / pairs, run.memory / 1e6
        lines.append(f"| {pairs} | {run.seconds:.1f} | {each:.3f} | {run.first:.1f} s | {memory:.0f} MB |")
    return lines


def evaluations(bundle: Bundle, compute: Compute, plan: PairPlan, args: argparse.Namespace) -> list[str]:
    """Label statistics against evaluations."""
    plans = planned(bundle, plan, args.samplers, args.counts)
    reference = resolved(replace(plan, sampler=args.reference_sampler, steps=args.reference_steps), bundle)
    noise, points = curve(
        bundle,
        compute,
        plans,
        reference=reference,
        reference_compute=open_compute(args.device, args.reference_precision),
        count=args.labels,
        cache=args.out / "labels",
        reporter=Reporter(),
    )
    plot(noise, points, args.out / "curve.png")
    lines = [
        "| sampler | evaluations | distance | families | pixels that differ | failed |",
        "|---|---|---|---|---|---|",
    ]
    for point in (noise, *points):
        summary = point.distance.summary
        families = ", ".join(f"{name} {figure.value:.2f}" for name, figure in point.distance.families.items())
        name, other = point.sampler, f"{point.differing:.1%}"
        if point is noise:
            name, other = f"{name}, another seed", "-"
        lines.append(
            f"| {name} | {point.steps} | {summary.value:.3f} ({summary.low:.3f} to {summary.high:.3f}) | {families} | "
            f"{other} | {point.failed:.1%} |"
        )
    return lines


def main() -> None:
    """Run the parts that were asked for, and print their tables."""
    args = _parser().parse_args()
    bundle, compute = open_bundle(args.weights), open_compute(args.device)
    plan = PairPlan(tumour=args.tumour, tumour_fraction=0.5, steps=args.steps)
    options = {"plan": plan, "weights": args.weights, "device": args.device}
    ours = cache(lambda: seconds_of_ours(options, args))
    extra = ["--device", args.device, *(["--tumour"] if args.tumour else [])]
    extra += ["--weights", args.weights] if args.weights else []
    extra += ["--steps", str(args.steps)] if args.steps else []
    makers = {
        "speed": lambda: speed(bundle, compute, ours(), args),
        "shares": lambda: shares(bundle, compute, ours(), options, args),
        "changes": lambda: bought(compute, options, args),
        "commands": lambda: commands(args, extra),
        "curve": lambda: evaluations(bundle, compute, plan, args),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    report = [
        f"# Benchmarks of {bundle.config.name}",
        "",
        f"{compute.describe()}, {compute.precision}, torch {torch.__version__}",
        "",
    ]
    for part in args.parts:
        report += [f"## {part}", "", *makers[part](), ""]
        (args.out / "report.md").write_text("\n".join(report))
    print("\n".join(report))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="a weights bundle; the default is the one that installs with the package")
    parser.add_argument(
        "--style", nargs="+", default=[str(STYLE)], help="a scan for each channel, as sample takes them"
    )
    parser.add_argument("--tumour", action="store_true")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--pairs", nargs="+", type=int, default=[200, 2000], help="N of each command that is timed")
    parser.add_argument("--baseline-pairs", type=int, default=64)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, help="evaluations a label; the default is the sampler's own")
    parser.add_argument("--labels", type=int, default=256, help="labels a point of the curve")
    parser.add_argument("--reference-sampler", default="ddim", help="what the curve is held against")
    parser.add_argument("--reference-steps", type=int, default=1000)
    parser.add_argument(
        "--reference-precision", default="auto", help="auto, fp32 or bf16; the default is that of the rest"
    )
    parser.add_argument("--samplers", nargs="+", help="of the curve; default: all that need no noise of their own")
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="evaluations of the curve's samplers")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    return parser


if __name__ == "__main__":
    try:
        main()
    except BrainspadeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
