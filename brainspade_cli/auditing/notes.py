"""What a reader of an audit should know before believing its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set

from brainspade_cli.auditing.codes import IMAGES, CodeJudge
from brainspade_cli.auditing.cuts import LABELS
from brainspade_cli.auditing.people import PeopleJudge
from brainspade_cli.auditing.scores import SliceScore
from brainspade_cli.bundle import Bundle

# With fewer people, what they agree by says little about people.
FEW_PEOPLE = 6


def of_judges(wanted: Sequence[str], judges: Mapping[str, object]) -> Iterator[str]:
    """What was not looked at."""
    if LABELS not in wanted:
        yield "The labels do not tell grey from white matter and CSF, so only the images were audited."
    missing = [kind for kind in wanted if kind not in judges]
    if missing:
        yield f"Nothing of the training people is there to hold {', '.join(missing)} against: not audited."


def of_people(
    judges: Mapping[str, PeopleJudge], trained: Sequence[str] | None, there: Set[str], limit: Mapping[str, float]
) -> Iterator[str]:
    """How far real people can serve as a yardstick.

    `trained`: whom the weights learnt from, None where that is not known; `there`: names that mean training people of
    the slice set.
    """
    if trained is None:
        yield "Whom the weights learnt from is not on record here; of others than the slice set's, no copy is found."
    elif missing := set(trained) - there:
        yield (
            f"{len(missing)} of {len(trained)} people whom the weights learnt from are not in the slice set: copies of "
            "these are not found. Audit against the set that was trained on."
        )
    crowds = [judge.yardstick for judge in judges.values()]
    if not all(len(item.newcomers) for item in crowds):
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
    twins = next(iter(judges.values())).twins
    if twins:
        yield (
            f"{', '.join(twins)}: held out, but like training people, and so no proof that a slice is of somebody new;"
            " left out where copies are told from slices without much to tell."
        )


def of_weights(
    bundle: Bundle, judges: Mapping[str, CodeJudge], on_record: bool, limit: Mapping[str, float]
) -> Iterator[str]:
    """What codes cannot do, whom they leave out, and whether it is known with which weights the dataset was made."""
    yield "Codes tell neither whose slice is repeated nor how near held-out people are; --against does, and sees more."
    trained = len(bundle.config.people.train)
    for part in (LABELS, IMAGES):
        coded = {
            judge.yardstick.training.people for kind, judge in judges.items() if (kind == LABELS) == (part == LABELS)
        }
        if coded and max(coded) < trained:
            yield f"Codes of {part} of {max(coded)} of {trained} people: copies of the others are not found."
    if not on_record:
        yield f"Nothing on record says that the dataset was made with the weights {bundle.config.name}."


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
