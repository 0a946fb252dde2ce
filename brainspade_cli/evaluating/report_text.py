"""The report of an evaluation as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class _Figure(NamedTuple):
    name: str
    value: str
    interval: str = ""
    real: str = ""
    verdict: str = ""
    meaning: str = ""


_Line = str | _Figure
_ROW = "{0:<26} {1:>9}  {2:<19} {3:<20} {4:<13} {5}"
_ROW_ALONE = "{0:<26} {1:>9}  {2:<19} {5}"
_FAMILIES = {
    "area": "area of each class at its height",
    "components": "pieces that each class is in",
    "entropy": "softness of the borders (partial volumes)",
    "place": "where the brain lies in the frame",
    "lesion": "load, core share and place of lesions",
    "position": "heights of the slices",
}
_FIDELITY = {
    "frechet": "distance of means and spreads of features; 0 = alike",
    "kernel": "distance of features, unbiased; about 0 = alike",
    "precision": "share of the made images that lie among real ones",
    "recall": "share of the real images that lie among made ones",
    "density": "how many real neighbourhoods a made image lies in, in fifths",
    "coverage": "share of real neighbourhoods with a made image in it",
}


def report_text(report: Mapping[str, Any]) -> str:
    """All of a report in words, line by line; the last line names the file."""
    lines = list(_lines(report))
    compared = any(line.real for line in lines if isinstance(line, _Figure) and line.name)
    row = _ROW if compared else _ROW_ALONE
    return "\n".join(line if isinstance(line, str) else row.format(*line).rstrip() for line in lines)


def _lines(report: Mapping[str, Any]) -> Iterator[_Line]:
    against = report["against"]
    yield f"{report['dataset']}: {report['looked_at']} of {report['pairs']} pairs looked at"
    if against:
        people = f": {', '.join(against['people'])}" if against["people"] else ""
        yield f"against {against['looked_at']} slices of {against['what']}{people}"
        yield ""
        yield (
            "'real' is the same figure for two halves of the real people: its median and, in brackets, what 19 of 20 "
            "halvings keep to."
        )
    yield ""
    yield _Figure("", "value", "95 % interval", "real", "verdict", "what it means")
    yield from _label_lines(report["labels"])
    for channel, images in report["images"].items():
        yield from _image_lines(channel, images)
    for style in report["styles"]:
        name = f"  {style['channel']} {style['style']}"
        meaning = "low is good: histogram of the brain against the style scan's, in its SD; real: halves of its slices"
        yield _figure(name, style["histogram"], meaning)
    yield ""
    yield from _balance_lines(report["balance"])
    for note in report["notes"]:
        yield f"note: {note}"
    yield ""
    yield f"The whole report: {report['file']}"


def _label_lines(labels: Mapping[str, Any]) -> Iterator[_Line]:
    yield "LABELS"
    meaning = "high is good: labels that repeat no other"
    yield _Figure("  different labels", f"{labels['distinct']:.1%}", meaning=meaning)
    if "distance" not in labels:
        return
    yield _figure("  distance", labels["distance"]["summary"], "low is good: mean of the following, in SDs of the real")
    for family, item in labels["distance"]["families"].items():
        yield _figure(f"    {family}", item, _FAMILIES[family])
    worst = sorted(labels["distance"]["statistics"].items(), key=lambda entry: -entry[1]["value"])[:3]
    for name, item in worst:
        made, real = (f"{item[f'{side}_mean']:.4g} +- {item[f'{side}_sd']:.2g}" for side in ("made", "real"))
        yield f"    furthest: {name} is {made} where the real have {real}"


def _image_lines(channel: str, images: Mapping[str, Any]) -> Iterator[_Line]:
    yield f"IMAGES {channel}"
    for name, item in images.get("fidelity", {}).items():
        good = "low is good" if item["better"] == "low" else "high is good"
        yield _figure(f"  {name}", item, f"{good}: {_FIDELITY[name]}")
    contrast = images.get("contrast")
    if contrast:
        yield _figure(
            "  contrast", contrast["summary"], "low is good: tissue brightness missed by, in SDs of the brain"
        )
        for name, item in contrast["tissues"].items():
            yield _figure(f"    {name}", item, f"mean {item['made_mean']:+.2f}, real {item['real_mean']:+.2f}")
    if images["similarity"]:
        yield _figure(
            "  similarity", images["similarity"], "low is good: MS-SSIM of pairs at like heights; 1 = the same"
        )
    yield _figure(
        "  agreement", images["agreement"], "high is good: overlap of label and brain; 1 = all, where labels cover it"
    )


def _balance_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield "BALANCE (counted)"
    if found["lesion_asked"] is not None:
        yield (
            f"  lesions asked for in {found['lesion_asked']:.1%} of the pairs, made in {found['lesion_made']:.1%}; "
            f"{found['lesion_as_asked']:.1%} of the pairs are as asked"
        )
    elif found["lesion_made"] is not None:
        yield f"  lesions in {found['lesion_made']:.1%} of the pairs, as the given labels have them"
    yield f"  {found['redrawn']} labels that failed their checks were thrown away, {found['flagged']} were kept"
    for channel, shares in found["styles"].items():
        if len(shares) == 1:
            yield f"  {channel}: all in one style"
        elif shares:
            low, high = min(shares.values()), max(shares.values())
            yield f"  {channel}: {len(shares)} styles, each in {low:.1%} to {high:.1%} of the images"


def _figure(name: str, item: Mapping[str, Any], meaning: str) -> _Figure:
    interval = f"{_number(item['low'])} to {_number(item['high'])}"
    real = "" if item["usual"] is None else _number(item["usual"])
    real += "" if item["worst_usual"] is None else f" ({_number(item['worst_usual'])})"
    verdict = {None: "", True: "as the real", False: "off"}[item["within"]]
    spread = f" (other seeds: +-{_number(item['seed_spread'])})" if item["seed_spread"] is not None else ""
    return _Figure(name, _number(item["value"]), interval, real, verdict, meaning + spread)


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
