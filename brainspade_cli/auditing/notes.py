"""What a reader of an audit should know before believing its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from brainspade_cli.auditing.cuts import LABELS
from brainspade_cli.auditing.people import PeopleJudge
from brainspade_cli.auditing.scores import SliceScore
from brainspade_cli.bundle_config import TENSOR_FILES
from brainspade_cli.nnunet.raw import RawLayout
from brainspade_cli.sampling.run_folder import RUN_FILE, read_run
from brainspade_cli.weights import Bundle

# With fewer people, what they agree by says little about people.
FEW_PEOPLE = 6


def of_judges(wanted: Sequence[str], judges: Mapping[str, object]) -> Iterator[str]:
    """What was not looked at."""
    if LABELS not in wanted:
        yield "The labels do not tell grey from white matter and CSF, so only the images were audited."
    missing = [kind for kind in wanted if kind not in judges]
    if missing:
        yield f"Nothing of the training people is there to hold {', '.join(missing)} against: not audited."


def of_people(judges: Mapping[str, PeopleJudge], limit: Mapping[str, float]) -> Iterator[str]:
    """How far real people can serve as a yardstick."""
    crowds = [judge.yardstick for judge in judges.values()]
    if any(item.held_out is None for item in crowds):
        yield "Nobody is held out, so false alarms were counted among the training people, each left out in turn."
    elif min(item.held_out.people for item in crowds if item.held_out) < FEW_PEOPLE:
        yield "Fewer than six people are held out: the rate of false alarms is rough."
    if min(item.training.people for item in crowds) < FEW_PEOPLE:
        yield "Fewer than six people were trained on: how much people agree, and so the threshold, is rough."
    alike: Counter[tuple[str, str]] = Counter()
    for kind, judge in judges.items():
        alike.update(_alike(judge, limit[kind]))
    for (one, other), slices in alike.most_common():
        yield (
            f"{one} and {other} agree like copies ({slices} slices): perhaps one person under two names. "
            "False alarms are too many by that."
        )


def of_weights(bundle: Bundle, layout: RawLayout, limit: Mapping[str, float]) -> Iterator[str]:
    """What codes cannot do, and whether the dataset was made with other weights than those that carry them."""
    yield "Codes tell neither whose slice is repeated nor how near held-out people are; --against does, and sees more."
    run = read_run(layout) if (layout.provenance / RUN_FILE).is_file() else None
    used = {} if run is None else run["settings"].get("weights")
    files = {file: digest for file, digest in used.items() if file in TENSOR_FILES} if isinstance(used, dict) else {}
    if any(bundle.config.sha256.get(file) != digest for file, digest in files.items()):
        yield f"The dataset was made with other weights than {bundle.config.name}: name those with --weights."


def of_scores(scores: Sequence[SliceScore]) -> Iterator[str]:
    """Slices that show nothing."""
    empty = sorted({score.case for score in scores if score.training <= 0})
    if empty:
        yield f"{len(empty)} cases have slices without a brain ({', '.join(empty[:3])}), which repeat nobody."


def _alike(judge: PeopleJudge, limit: float) -> Iterator[tuple[str, str]]:
    """Pairs of people, once for every slice in which they agree more than two people do."""
    reference = judge.reference
    for pool, baseline in ((reference.training, reference.between), (reference.held_out, reference.newcomers)):
        if pool is None or baseline is None:
            continue
        for row, nearest, score in zip(baseline.rows, baseline.nearest, baseline.scores, strict=True):
            if score > limit:
                one, other = sorted((pool.origins[row].person, reference.training.origins[nearest].person))
                yield one, other
