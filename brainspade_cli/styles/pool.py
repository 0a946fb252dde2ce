"""Stage 2's styles: every scan encoded once into style codes, and a style drawn for each pair (paper 2.3)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from brainspade_cli.bundle import Bundle
from brainspade_cli.console import Reporter
from brainspade_cli.errors import InputError, ScanError, one_line, some_of
from brainspade_cli.files import sha256
from brainspade_cli.networks.style_encoder import StyleEncoder, sample_style
from brainspade_cli.sampling.lanes import Lanes
from brainspade_cli.sampling.randomness import Stream, generator
from brainspade_cli.styles.arguments import StyleArgument, channels_of
from brainspade_cli.styles.codes import drawn_together, median_code, towards_known
from brainspade_cli.styles.intensities import IntensityScale, intensity_scale
from brainspade_cli.styles.notes import StyleNote
from brainspade_cli.styles.scan import load_style
from brainspade_cli.styles.style_range import StylePlace, StyleRange, style_range

ENCODER_BATCH = 16
# So many scans are read at once: a head takes some 300 MB, and much more while its skull is taken off.
MOST_READERS = 4
# So many scans keep their slices for the preview (6 MB each); the codes of any number of scans cost next to nothing.
SCANS_SHOWN = 16


@dataclass(frozen=True)
class StyleSource:
    """A scan's or a bank's styles. `mean` and `log_variance`: float32 (S, style_dim), one row a slice.

    A scan's `mean` is what pairs are painted with: the encoder's, moved and drawn together by `codes.py`. `name` is a
    file's name without its folders, which may identify a patient. `slices`: float16 (S, 192, 256), z-scored, kept for
    scans that the preview may show. `place`: where a scan's style lies in what the weights saw, before it is moved.
    `brightest`: the highest z-score of a scan's brain, which no spot in CSF exceeds; no limit for a bank.
    `stripped`: a skull stripper took the skull off. `rows`: those of the codes that pairs draw, all where it is empty.
    """

    channel: str
    name: str
    sha256: str
    subject: str
    mean: torch.Tensor
    log_variance: torch.Tensor
    scale: IntensityScale
    slices: NDArray[np.float16] | None = None
    place: StylePlace | None = None
    brightest: float = math.inf
    stripped: bool = False
    rows: tuple[int, ...] = ()

    @property
    def is_bank(self) -> bool:
        """Whether these are the weights' own styles, of no scan at hand."""
        return self.name.startswith("@")

    @property
    def rescaled(self) -> bool:
        """Whether images are stored with other intensities than the scan has; a bank's have no scan to compare with."""
        return not self.is_bank and (self.scale.offset, self.scale.factor) != (0, 1)


@dataclass(frozen=True)
class StyleChoice:
    """The style of one image: its source, the slice in it, and the style code float32 (style_dim,) drawn around it."""

    source: StyleSource
    slice_index: int
    code: torch.Tensor


@dataclass(frozen=True)
class StylePool:
    """All styles of a run, from which each pair draws one for every channel, and what to know of them."""

    channels: tuple[str, ...]
    sources: tuple[StyleSource, ...]
    notes: tuple[StyleNote, ...] = ()

    def draw(self, seed: int, index: int) -> tuple[StyleChoice, ...]:
        """The styles of pair `index`, one a channel.

        A subject is drawn first and gives every channel that it has, at one height of the head, so that a T1 and a
        FLAIR of one label look like one visit to one scanner; for channels that it lacks any scan may serve. The code
        is drawn from the encoder's posterior, per channel.
        """
        rng = generator(seed, Stream.STYLE, index)
        subjects = list(dict.fromkeys(source.subject for source in self.sources))
        subject = subjects[rng.integers(len(subjects))]
        height = rng.random()
        choices = []
        for channel in self.channels:
            pool = [source for source in self.sources if source.channel == channel]
            own = [source for source in pool if source.subject == subject] or pool
            source = own[rng.integers(len(own))]
            rows = source.rows or range(len(source.mean))
            row = rows[int(height * len(rows))]
            noise = torch.from_numpy(rng.standard_normal(source.mean.shape[1], dtype=np.float32))
            choices.append(StyleChoice(source, row, sample_style(source.mean[row], source.log_variance[row], noise)))
        return tuple(choices)


def load_styles(bundle: Bundle, arguments: Sequence[StyleArgument], reporter: Reporter) -> StylePool:
    """Read and encode every style once, each on one thread, so that the codes are the same wherever a run goes on.

    Raises ScanError for a scan that cannot be used; one of many in a folder is named and left out instead. Raises
    InputError where a channel has none left, WeightsError where a bank is asked for that the weights lack.
    """
    refusals: dict[str, str] = {}
    encoder = bundle.network("style_encoder") if any(argument.path for argument in arguments) else None
    known = style_range(bundle)

    def load(item: tuple[int, StyleArgument]) -> tuple[StyleSource | None, tuple[StyleNote, ...]]:
        place, argument = item
        if argument.path is None:
            return _from_bank(bundle, known, argument), ()
        try:
            assert isinstance(encoder, StyleEncoder)
            return _from_scan(encoder, known, argument, keep=place < SCANS_SHOWN)
        except ScanError as error:
            if not argument.optional:
                raise
            refusals.setdefault(argument.channel, str(error))
            # As it was raised, with the path as it is, which a record takes out.
            return None, (StyleNote(f"{error.args[0]} It is left out.", argument.path),)

    sources: list[StyleSource] = []
    notes: list[StyleNote] = []
    with (
        reporter.progress("styles", len(arguments)) as advance,
        Lanes(min(torch.get_num_threads(), MOST_READERS)) as lanes,
    ):
        for source, said in lanes.in_order(load, enumerate(arguments)):
            sources += [source] if source else []
            notes += said
            advance()
    channels = channels_of(arguments)
    for channel in channels:
        if not any(source.channel == channel for source in sources):
            raise InputError(f"No {channel} scan can be used as a style: {refusals[channel]}")
    notes += [*_unseen(bundle, channels), *_lacking(sources, channels)]
    for note in notes:
        reporter.warn(note.text)
    if len(sources) > 1:
        counts = Counter(source.channel for source in sources)
        reporter.say(f"Styles: {', '.join(f'{channel} of {counts[channel]}' for channel in channels)}.")
    if scaled := list(dict.fromkeys(source.name for source in sources if source.rescaled)):
        reporter.say(
            f"Images in the style of {some_of(scaled)} are stored times a power of ten or lifted above zero, for whole"
            " numbers to hold them (`factor` and `offset` in run.json)."
        )
    if len(sources) < len(arguments):
        reporter.say(f"{len(sources)} of {len(arguments)} style scans are used.")
    return StylePool(channels, tuple(sources), tuple(notes))


def _unseen(bundle: Bundle, channels: Sequence[str]) -> Iterator[StyleNote]:
    modalities = bundle.config.modalities
    for channel in channels:
        if modalities and channel not in modalities:
            yield StyleNote(
                f"These weights were trained on {', '.join(modalities)} and never saw {channel}; look at the preview"
                " before you go on.",
                channel,
                outside=True,
            )


def _lacking(sources: Sequence[StyleSource], channels: Sequence[str]) -> Iterator[StyleNote]:
    """What to say where some subjects have scans in all channels, and others' are filled up from somebody else's."""
    held: dict[str, set[str]] = {}
    for source in sources:
        held.setdefault(source.subject, set()).add(source.channel)
    lacking = sum(len(found) < len(channels) for found in held.values())
    if 0 < lacking < len(held):
        yield StyleNote(
            f"Of {len(held)} people whose scans give the style, {lacking} have none in some channel"
            f" ({', '.join(channels)}): in their pairs somebody else's scan gives it.",
            ", ".join(channels),
        )


@torch.inference_mode()
def _from_scan(
    encoder: StyleEncoder, known: StyleRange, argument: StyleArgument, keep: bool
) -> tuple[StyleSource, tuple[StyleNote, ...]]:
    """A scan's styles, near to the codes that are known of its channel, where there are enough to say what is usual."""
    assert argument.path is not None
    scan = load_style(argument.path)
    images = torch.from_numpy(scan.slices)[:, None]
    codes = [encoder(images[start : start + ENCODER_BATCH]) for start in range(0, len(images), ENCODER_BATCH)]
    try:
        scale = intensity_scale(scan.intensity_mean, scan.intensity_std, scan.background)
    except InputError as error:
        raise ScanError(f"{argument.path} cannot be a style. {error}") from error
    means = torch.cat([mean for mean, _ in codes])
    place = known.place(argument.channel, median_code(means).double().numpy())
    if scan.skull and not scan.stripped and place is not None and place.mistaken:
        raise ScanError(
            f"{argument.path} shows a skull that was not taken off, and the middle of the head looks to the weights"
            f" like {place.nearest}, not {argument.channel}: so would the images. Install the extra"
            f" `brainspade[strip]`, which takes it off, or strip the scan; if it is a {place.nearest}, say --style"
            f" {place.nearest}=FILE."
        )
    # One that looks like another modality shall be painted like it: the warning says so.
    if (codes_known := known.codes(argument.channel)) is not None and not (place and place.mistaken):
        means = towards_known(means, torch.from_numpy(codes_known).to(means))
    source = StyleSource(
        channel=argument.channel,
        name=one_line(argument.path.name),
        sha256=sha256(argument.path),
        subject=argument.subject,
        mean=drawn_together(means),
        log_variance=torch.cat([log_variance for _, log_variance in codes]),
        scale=scale,
        slices=scan.slices.astype(np.float16) if keep else None,
        place=place,
        brightest=scan.brightest,
        stripped=scan.stripped,
    )
    if place is None or not place.outside:
        return source, scan.notes
    misplaced = StyleNote(place.words(str(argument.path), argument.channel), argument.path, outside=True)
    return source, (*scan.notes, misplaced)


def _from_bank(bundle: Bundle, known: StyleRange, argument: StyleArgument) -> StyleSource:
    """The codes of a bank, of which those are drawn that look to the weights like no other modality's.

    What the others paint looks like that. At most one in twenty is left out, for that is how `StyleRange` is set.
    """
    assert argument.bank is not None
    bank = bundle.style_bank(argument.bank)
    places = [known.place(argument.bank, code) for code in bank.mean.double().numpy()]
    return StyleSource(
        channel=argument.channel,
        name=f"@{argument.bank}",
        sha256=bundle.config.sha256["style_bank.safetensors"],
        subject=argument.subject,
        mean=bank.mean,
        log_variance=bank.log_variance,
        scale=intensity_scale(bank.intensity_mean, bank.intensity_std, bank.background),
        rows=tuple(row for row, place in enumerate(places) if place is None or not place.mistaken),
    )
