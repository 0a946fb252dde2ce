"""From the style codes of a scan's slices to those that pairs are painted with."""

from __future__ import annotations

import math

import torch

# How far a slice's code keeps its own way from the median code of its scan. A scan has one contrast, which its lowest
# and highest slices, or a face left on, show badly: alone, some of them got a T1 painted like a FLAIR.
OWN_SHARE = 0.25
# How far a scan's codes go to what the weights know. The encoder puts FLAIRs of people from whom it did not learn too
# far out, and there the painter makes CSF as bright as cortex, or darker than any is. Labels of ten people painted in
# the style of six such FLAIRs had means of CSF 0.38 of the brain's SD off the scans', halfway to these codes 0.23; T1s
# changed by less than 0.01.
KNOWN_SHARE = 0.5
# Which share of the bank's codes counts: those nearest to the scan's.
NEAREST_SHARE = 0.25


def median_code(codes: torch.Tensor) -> torch.Tensor:
    """The median of codes (S, style_dim) in each dimension, (style_dim,): of an even number, between the middle two.

    torch's own is the lower of the two, and so too low in every dimension.
    """
    ordered = codes.sort(dim=0).values
    return (ordered[(len(codes) - 1) // 2] + ordered[len(codes) // 2]) / 2


def drawn_together(codes: torch.Tensor) -> torch.Tensor:
    """The codes (S, style_dim) of a scan's slices, drawn towards their median; one slice alone keeps its code."""
    centre = median_code(codes)
    return centre + OWN_SHARE * (codes - centre)


def towards_known(codes: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The codes (S, style_dim) of a scan's slices, all moved alike: halfway to what the weights know near their median.

    known: codes (N, style_dim) of slices that the painter learnt from, in the same modality. The quarter of them that
    lies nearest to the median is averaged, the nearer the more.
    """
    centre = median_code(codes)
    squares = (known - centre).square().sum(dim=1)
    nearest = squares.argsort(stable=True)[: math.ceil(NEAREST_SHARE * len(known))]
    # In units of their mean square distance, so that twice as wide a bank moves codes twice as far.
    scale = squares[nearest].mean().clamp_min(torch.finfo(codes.dtype).tiny)
    weights = torch.softmax(-squares[nearest] / scale, dim=0)
    return codes + KNOWN_SHARE * (weights @ known[nearest] - centre)
