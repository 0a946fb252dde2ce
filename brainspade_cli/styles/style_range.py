"""What the weights know of styles, the banked codes of their training slices, and whether a style lies within that.

The bank is all it takes, so weights of any age can tell, and no scan is kept. Distances are Mahalanobis: in units of
the spread of a modality's codes, widened by the spread within which the painter draws around each, for what lies within
that spread it cannot tell apart. How far is far is read off the bank itself, each code of it against all others.

A code tells what the style encoder looks at: contrast, and little else. Noise, blur and cuts are looked for in `scan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainspade_cli.bundle import Bundle

# 19 of 20 codes of a bank lie within its limit. Fewer than 20 codes cannot say where that is.
SHARE = 0.95
FEWEST_CODES = 20
TINY = 1e-12

_Codes = NDArray[np.float64]


@dataclass(frozen=True)
class StylePlace:
    """Where a style lies. `distance`: to the channel's bank, within `limit` for what the weights saw.

    `nearest` is the modality whose bank lies closest, `nearest_distance` and `nearest_limit` likewise. `distance` and
    `limit` are None where the weights have no bank of the channel. `mistaken`: the code lies nearer to the other
    modality than the channel's own do.
    """

    distance: float | None
    limit: float | None
    nearest: str
    nearest_distance: float
    nearest_limit: float
    mistaken: bool

    @property
    def outside(self) -> bool:
        """Whether the style lies beyond what the weights saw of its channel, or nearer to another one."""
        return self.distance is None or self.limit is None or self.distance > self.limit or self.mistaken

    def words(self, name: str, channel: str) -> str:
        """Say where the style `name`, called `channel`, lies, for one that is outside."""
        if self.distance is None:
            return (
                f"The weights have no styles of {channel}; nearest to {name} are their {self.nearest} styles: distance"
                f" {self.nearest_distance:.2f}, where 19 of 20 of theirs lie within {self.nearest_limit:.2f}."
            )
        if self.mistaken:
            return (
                f"{name} is called {channel} and looks to the weights like {self.nearest}, and so may what is painted"
                f" after it: it lies {self.nearest_distance:.2f} from the {self.nearest} styles that they saw, and"
                f" {self.distance:.2f} from the {channel} ones. If it is {self.nearest}, call it so; if not, look at"
                " the preview before you use the pairs."
            )
        return (
            f"{name} lies outside the {channel} styles that the weights saw: distance {self.distance:.2f}, where 19 of"
            f" 20 of theirs lie within {self.limit:.2f}."
        )

    def to_json(self) -> dict[str, float | str | bool | None]:
        """Plain JSON data."""
        return {
            "distance": None if self.distance is None else round(self.distance, 3),
            "limit": None if self.limit is None else round(self.limit, 3),
            "nearest": self.nearest,
            "nearest_distance": round(self.nearest_distance, 3),
            "outside": self.outside,
        }


@dataclass(frozen=True)
class _Spread:
    """The codes of one modality as a Gaussian: `mean` (D,) and the inverse `precision` (D, D) of their covariance."""

    mean: _Codes
    precision: _Codes

    def distances(self, codes: _Codes) -> _Codes:
        """Root mean square deviation of codes (N, D) over the dimensions, in SDs, (N,)."""
        away = codes - self.mean
        squares: _Codes = np.einsum("ni,ij,nj->n", away, self.precision, away)
        return np.sqrt(squares / len(self.mean))


@dataclass(frozen=True)
class _Modality:
    """What a bank tells of one modality.

    `codes`: those of the bank (N, D). `limit`: the distance that 19 of 20 of them keep to all others. `ratio`: what
    19 of 20 keep to of their distance to their own modality over that to the nearest other one; at least 1.
    """

    spread: _Spread
    codes: _Codes
    limit: float
    ratio: float


@dataclass(frozen=True)
class StyleRange:
    """What a bundle's bank holds enough codes of to say what is usual, perhaps nothing; `few`: banked with too few."""

    modalities: Mapping[str, _Modality] = field(default_factory=dict)
    few: frozenset[str] = frozenset()

    def codes(self, channel: str) -> _Codes | None:
        """The bank's codes (N, D) of a channel, also those that look like another's; None where it has too few."""
        found = self.modalities.get(channel)
        return None if found is None else found.codes

    def place(self, channel: str, code: _Codes) -> StylePlace | None:
        """Where a style code (D,) lies that is called `channel`; None where no bank tells."""
        if not self.modalities or channel in self.few:
            return None
        found = {name: float(item.spread.distances(code[None])[0]) for name, item in self.modalities.items()}
        nearest = min(found, key=lambda name: found[name])
        own = self.modalities.get(channel)
        return StylePlace(
            distance=found.get(channel),
            limit=None if own is None else own.limit,
            nearest=nearest,
            nearest_distance=found[nearest],
            nearest_limit=self.modalities[nearest].limit,
            mistaken=own is not None and found[channel] > own.ratio * found[nearest],
        )


def style_range(bundle: Bundle) -> StyleRange:
    """Measure the bank of a bundle; raises WeightsError where its file is damaged."""
    if not bundle.has("style_bank"):
        return StyleRange()
    banks = {name: bundle.style_bank(name) for name in bundle.config.style_bank}
    codes = {
        name: (bank.mean.double().numpy(), bank.log_variance.double().exp().numpy())
        for name, bank in banks.items()
        if len(bank.mean) >= FEWEST_CODES
    }
    spreads = {name: _spread(*parts) for name, parts in codes.items()}
    modalities = {name: _modality(name, *parts, spreads) for name, parts in codes.items()}
    return StyleRange(modalities, frozenset(banks.keys() - codes.keys()))


def _spread(means: _Codes, variances: _Codes) -> _Spread:
    precision = np.linalg.pinv(_covariance(means) + _around(variances), hermitian=True)
    return _Spread(means.mean(axis=0), np.asarray(precision, np.float64))


def _covariance(means: _Codes) -> _Codes:
    return np.asarray(np.cov(means, rowvar=False), np.float64).reshape(means.shape[1], -1)


def _around(variances: _Codes) -> _Codes:
    """What the painter's draws around each code add to the covariance."""
    return np.diag(variances.mean(axis=0))


def _modality(name: str, means: _Codes, variances: _Codes, spreads: Mapping[str, _Spread]) -> _Modality:
    """Hold each code of a modality against the rest of it, and against the other modalities."""
    own = _distances_to_the_rest(means, variances)
    others = [spread.distances(means) for other, spread in spreads.items() if other != name]
    ratio = float(np.quantile(own / np.maximum(np.min(others, axis=0), TINY), SHARE)) if others else np.inf
    return _Modality(spreads[name], means, float(np.quantile(own, SHARE)), max(1.0, ratio))


def _distances_to_the_rest(means: _Codes, variances: _Codes) -> _Codes:
    """Distance of each code (N, D) to the spread of all others, (N,), by one inverse for all of them.

    Without a code the covariance lacks a multiple of the square of its deviation, and so its inverse is known from the
    whole one's (Sherman and Morrison). The draws around the codes are taken as those around all, the code's own too.
    """
    count = len(means)
    away = means - means.mean(axis=0)
    whole = np.linalg.pinv((count - 1) / (count - 2) * _covariance(means) + _around(variances), hermitian=True)
    squares = np.einsum("ni,ij,nj->n", away, whole, away)
    lacking = 1 - count / ((count - 1) * (count - 2)) * squares
    without = (count / (count - 1)) ** 2 * squares / np.maximum(lacking, TINY)
    distances: _Codes = np.sqrt(without / means.shape[1])
    return distances
