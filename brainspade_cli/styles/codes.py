"""From the style codes of a scan's slices to those that pairs are painted with."""

from __future__ import annotations

import math

import torch

# How far a slice's code keeps its own way from the median code of its scan. A scan has one contrast, which its lowest
# and highest slices, or a face left on, show badly: alone, some of them got a T1 painted like a FLAIR.
OWN_SHARE = 0.25
# Which share of the codes that the weights know counts as near a code: the nearest of them.
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
    """The codes (S, style_dim) of a scan's slices, all moved alike: their median no further out than is usual.

    The encoder puts FLAIRs of people from whom it did not learn too far out, and there the painter makes CSF as bright
    as cortex, or darker than any is. What lies further from what is known around it than half of the known codes do
    from the rest goes back to that distance; all else stays, for styles drawn nearer to each other vary less.

    known: two codes or more (N, style_dim) of slices that the painter learnt from, in the same modality.
    """
    centre = median_code(codes)
    others = (torch.cat([known[:row], known[row + 1 :]]) for row in range(len(known)))
    usual = torch.stack([way_to(code, rest).norm() for code, rest in zip(known, others, strict=True)]).median()
    way = way_to(centre, known)
    return codes + way * (1 - usual / way.norm().clamp_min(torch.finfo(codes.dtype).tiny)).clamp_min(0)


def way_to(code: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The way (style_dim,) from a code to the mean of the known ones near it, the nearer the more."""
    squares = (known - code).square().sum(dim=1)
    nearest = squares.argsort(stable=True)[: math.ceil(NEAREST_SHARE * len(known))]
    # In units of their mean square distance, so that twice as wide a bank moves codes twice as far.
    scale = squares[nearest].mean().clamp_min(torch.finfo(known.dtype).tiny)
    weights = torch.softmax(-squares[nearest] / scale, dim=0)
    return weights @ known[nearest] - code
