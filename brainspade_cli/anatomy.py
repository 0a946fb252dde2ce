"""The label table: which partial-volume channel means what, and how other label schemes map onto it.

Everything that counts, names or colours channels reads this table; nothing else does so by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Label:
    """One row of the table: channel (also the id in nnU-Net labels), name, and an RGB colour for pictures (0..255)."""

    channel: int
    name: str
    colour: tuple[int, int, int]


LABELS: tuple[Label, ...] = (
    Label(0, "background", (0, 0, 0)),
    Label(1, "csf", (66, 135, 245)),
    Label(2, "gm", (150, 150, 150)),
    Label(3, "wm", (236, 236, 226)),
    Label(4, "deep_gm", (120, 94, 160)),
    Label(5, "brainstem", (84, 148, 110)),
    Label(6, "tumour", (214, 39, 40)),
    Label(7, "oedema", (255, 187, 60)),
)
CHANNELS = len(LABELS)
NAMES: tuple[str, ...] = tuple(label.name for label in LABELS)
BACKGROUND, CSF, GM, WM, DEEP_GM, BRAINSTEM, TUMOUR, OEDEMA = range(CHANNELS)
LESIONS: tuple[int, ...] = (TUMOUR, OEDEMA)
# Labels without these three do not tell the tissues apart.
TISSUE_NAMES = frozenset(NAMES[channel] for channel in (CSF, GM, WM))
LESION_NAMES: frozenset[str] = frozenset(NAMES[channel] for channel in LESIONS)
MODALITIES: tuple[str, ...] = ("t1", "t1ce", "t2", "flair", "pd")


def _scheme(groups: Mapping[int, tuple[int, ...]]) -> Mapping[int, int]:
    return MappingProxyType({value: target for target, values in groups.items() for value in values})


# FAST and its kin: 1 CSF, 2 grey, 3 white.
FAST = _scheme({BACKGROUND: (0,), CSF: (1,), GM: (2,), WM: (3,)})

# BraTS: 1 necrosis and non-enhancing core, 2 oedema, 4 (3 in later years) enhancing core.
BRATS = _scheme({TUMOUR: (1, 3, 4), OEDEMA: (2,)})

# FreeSurfer numbers as SynthSeg uses them. The 500s and the 200s below 250 are tissue outside the brain.
# Hippocampus and amygdala count as grey matter, the ventral diencephalon as deep grey matter, white matter lesions (25,
# 57) as white matter. aparc+aseg and SynthSeg's parcellations have the cortex in areas from 1000 (left) and 2000
# (right) on, among which 1004 and 2004 are corpus callosum.
FREESURFER = _scheme(
    {
        CSF: (4, 5, 14, 15, 24, 31, 43, 44, 63, 72, 213, 221),
        GM: (
            *(3, 8, 17, 18, 19, 20, 42, 47, 53, 54, 55, 56, 80, 136, 137, 163, 164),
            *(side + area for side in (1000, 2000) for area in range(36) if area != 4),
        ),
        WM: (2, 7, 25, 30, 41, 46, 57, 62, 77, 78, 79, 85, 192, 250, 251, 252, 253, 254, 255, 1004, 2004),
        DEEP_GM: (9, 10, 11, 12, 13, 26, 27, 28, 48, 49, 50, 51, 52, 58, 59, 60),
        BRAINSTEM: (16, 170, 171, 172, 173, 174, 175),
    }
)

# Neuromorphometrics, as in the MICCAI 2012 multi-atlas challenge; 100 and above are cortical regions.
NEUROMORPHOMETRICS = _scheme(
    {
        CSF: (4, 11, 15, 46, 49, 50, 51, 52),
        GM: (31, 32, 33, 34, 38, 39, 47, 48, 71, 72, 73, 75, 76, *range(100, 208)),
        WM: (40, 41, 44, 45, 53, 54, 69),
        DEEP_GM: (23, 30, 36, 37, 55, 56, 57, 58, 59, 60, 61, 62),
        BRAINSTEM: (35,),
    }
)

# This table itself: a label map that already holds 0..7.
BRAINSPADE = _scheme({label.channel: (label.channel,) for label in LABELS})


def region_scheme(values: frozenset[int]) -> Mapping[int, int]:
    """The scheme that a region map follows, judged by the values in it.

    FreeSurfer maps hold 41 or 42 (right hemisphere) beside 2 or 3; Neuromorphometrics maps hold 44 and cortical
    labels from 100; a map within 0..7 is taken as this table. Raises ValueError where none fits.
    """
    if values & {2, 3} and values & {41, 42}:
        return FREESURFER
    if values & {44, 45} and any(100 <= value <= 207 for value in values):
        return NEUROMORPHOMETRICS
    if values <= set(BRAINSPADE):
        return BRAINSPADE
    raise ValueError("its values fit neither FreeSurfer, nor Neuromorphometrics, nor this project's label table")
