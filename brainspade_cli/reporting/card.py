"""The dataset card: a README.md with the front matter of the Hugging Face Hub, made from a dataset's facts alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from brainspade_cli.reporting.facts import DatasetFacts, RunFacts, unique

PAPER = (
    "Fernandez V, Pinaya WHL, Borges P, Tudosiu PD, Graham MS, Vercauteren T, Cardoso MJ. Can segmentation models be"
    " trained with fully synthetically generated data? SASHIMI 2022. https://arxiv.org/abs/2209.08256"
)
# What datasets of these names ask to be cited, where the weights learnt from them.
DATA_PAPERS = {
    "oasis": "Marcus DS et al. Open Access Series of Imaging Studies (OASIS). J Cogn Neurosci 2007."
    " https://doi.org/10.1162/jocn.2007.19.9.1498",
    "brats": "Menze BH et al. The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS). IEEE Trans Med Imaging"
    " 2015. https://doi.org/10.1109/TMI.2014.2377694",
    "synthseg": "Billot B et al. SynthSeg. Med Image Anal 2023. https://doi.org/10.1016/j.media.2023.102789",
}
# More style scans than these are counted, not named.
MOST_STYLES = 20
# What Markdown reads as more than text, but for what only HTML's entities hide.
_MARKS = re.compile(r"[\\\[\]!*_#`~<>]")
# A backtick and angle brackets in code, where no escape is known.
_QUOTES = "'\u2039\u203a"
_ENTITIES = (("|", "&#124;"), ("://", "&#58;//"), ("www.", "www&#46;"))


def dataset_card(facts: DatasetFacts) -> str:
    """The text of the card. The same facts give the same text."""
    return "\n".join(_lines(facts)) + "\n"


def terms(facts: DatasetFacts) -> tuple[str, ...]:
    """The terms of the weights that made a dataset, each once."""
    return unique(run.licence for run in facts.runs)


def citations(facts: DatasetFacts) -> tuple[str, ...]:
    """What whoever uses the dataset should cite: the method, and the data of the weights."""
    sources = unique(source for run in facts.runs for source in run.trained_on)
    data = (f"The data that the weights were trained on ({', '.join(sources)}), as their terms ask.",)
    return (PAPER, *(data if sources else ()), *(DATA_PAPERS[name] for name in sources if name in DATA_PAPERS))


def summary(facts: DatasetFacts) -> str:
    """The dataset in two or three sentences."""
    kind = "Labelled synthetic brain MRI slices" if not facts.real else "Labelled brain MRI slices, most synthetic"
    text = f"{kind} ({', '.join(facts.channels)}): {facts.made} cases {_origin(facts)}"
    return f"{text} {facts.real} cases are real and come from a dataset that was merged in." if facts.real else text


def _origin(facts: DatasetFacts) -> str:
    """Where the labels of synthetic cases come from: those that were handed over may be of people who exist."""
    if not facts.runs:
        return "made by brainspade."
    given = [run.given_labels for run in facts.runs]
    if not any(given):
        return (
            "drawn by brainspade's diffusion model and painted by its SPADE network. The people of synthetic cases do"
            " not exist."
        )
    labels = "label maps that were handed over" + ("" if all(given) else ", or drawn by its diffusion model")
    return (
        f"painted by brainspade's SPADE network on {labels}. Their images are synthetic; maps that were handed over may"
        " be of people who exist."
    )


def _lines(facts: DatasetFacts) -> Iterator[str]:
    yield from (
        "---",
        "license: other",
        "task_categories: [image-segmentation]",
        "tags: [synthetic, medical-imaging, mri, brain, segmentation, nnunet, brainspade]",
        f"pretty_name: {json.dumps(facts.name)}",
        "---",
        "",
        f"# {_plain(facts.name)}",
        "",
        f"{_plain(summary(facts))} Not for diagnosis.",
        "",
        "| | |",
        "|---|---|",
        f"| cases | {facts.cases} ({facts.made} synthetic, {facts.real} real) |",
        f"| with a lesion (synthetic pairs: one asked for) | {facts.lesions} |",
        f"| channels | {_plain(', '.join(facts.channels))} |",
        f"| format | nnU-Net v2 raw dataset, `{facts.file_ending}`, one axial slice a case, 1 mm |",
        f"| partial-volume maps | {'brainspade/pv/' if facts.pv else 'not kept'} |",
        "",
        "## Labels",
        "",
        "| value | label |",
        "|---|---|",
    )
    for name, value in sorted(facts.labels.items(), key=lambda item: item[1]):
        yield f"| {value} | {_plain(name)} |"
    yield from ("", "## How it was made", "")
    if not facts.runs:
        yield "The folder keeps no record of the run that made it."
    for run in facts.runs:
        yield from _run_lines(run)
    yield f"Each line of `brainspade/manifest*.jsonl` tells how one case was made.{_of_styles(facts)}"
    yield from ("", "## Terms", "")
    for text in terms(facts) or ("The weights state no terms; ask whoever gave you them.",):
        yield f"- Synthetic cases are under the terms of the weights that made them: {_plain(text)}"
    if any(run.given_labels for run in facts.runs):
        yield "- Label maps that were handed over keep their own terms."
    if facts.real:
        yield "- Real cases keep the terms of the dataset that they come from."
    yield from ("", "## Cite", "")
    ours = (PAPER, *DATA_PAPERS.values())
    yield from (f"- {text if text in ours else _plain(text)}" for text in citations(facts))
    yield from (
        "",
        "## Limits",
        "",
        "What the weights learnt badly is bad here too: read their card. `brainspade evaluate` measures how far labels",
        "and images lie from real people, `brainspade audit` whether any repeats a person of the training set, and",
        "`brainspade preview` shows what is here. Validate and test on real scans.",
    )


def _run_lines(run: RunFacts) -> Iterator[str]:
    yield f"{_plain(run.dataset)}: {run.pairs} pairs" + (f", brainspade {_plain(run.version)}." if run.version else ".")
    yield ""
    if run.command:
        yield from ("```bash", run.command.replace("```", ""), "```", "")
    revision = f" at revision {run.revision}" if run.revision else ""
    if run.weights:
        yield f"- weights: {_plain(run.weights)} ({_plain(run.source)}{_plain(revision)})"
    for name, digest in sorted(run.sha256.items()):
        yield f"  - {_code(name)} SHA-256 {_code(digest)}"
    if run.given_labels:
        yield "- labels: handed over, not drawn"
    if run.seed is not None:
        yield f"- seed: {run.seed}"
    if run.styles:
        named = ", ".join(_code(name) for name in run.styles[:MOST_STYLES])
        more = f" and {len(run.styles) - MOST_STYLES} more" if len(run.styles) > MOST_STYLES else ""
        yield f"- styles: {named}{more}"
    yield ""


def _of_styles(facts: DatasetFacts) -> str:
    """A sentence on whose contrast the images show, after a space; empty where no record tells."""
    names = unique(name for run in facts.runs for name in run.styles)
    if any(not name.startswith("@") for name in names):
        return (
            " The styles' scans lent their contrast alone: no pixel of them is in its images. `brainspade/preview.png`,"
            " where there is one, shows slices of them."
        )
    return " The styles are codes that the weights carry; no scan was handed over." if names else ""


def _plain(text: str) -> str:
    """A text on one line in which Markdown and HTML find nothing to obey."""
    safe = _MARKS.sub(r"\\\g<0>", _one_line(text).replace("&", "&amp;"))
    for letters, instead in _ENTITIES:
        safe = safe.replace(letters, instead)
    return safe


def _code(text: str) -> str:
    """A text on one line as code: Markdown sees nothing but its end in it, and some viewers HTML."""
    return f"`{_one_line(text).translate(str.maketrans('`<>', _QUOTES)) or '-'}`"


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
