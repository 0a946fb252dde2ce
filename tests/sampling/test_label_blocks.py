from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainspade_cli.anatomy import BRAINSTEM, LESIONS
from brainspade_cli.bundle import Bundle
from brainspade_cli.bundle_config import ConditionTable, Solver
from brainspade_cli.devices import Compute
from brainspade_cli.errors import InputError, WeightsError
from brainspade_cli.geometry import GRID_ORIGIN, GRID_SHAPE
from brainspade_cli.lesion_sides import across
from brainspade_cli.sampling import label_blocks
from brainspade_cli.sampling.label_blocks import (
    REDRAWN_TOGETHER,
    WIDE_REDRAWN_TOGETHER,
    GeneratedLabels,
    LabelDraw,
    draw_condition,
)
from brainspade_cli.sampling.label_checks import ACROSS_PIXELS, BOTH_SIDES, RARE, lesion_pixels
from brainspade_cli.sampling.plan import BLOCK, MAX_ATTEMPTS, PairPlan
from brainspade_cli.structure_places import FEWEST_PEOPLE, count_places
from tests.sampling.parts import CONDITIONS, Accelerator, ellipse_label, one_hot_maps, tiny_bundle

CPU = Compute(torch.device("cpu"), "fp32")


def block(number: int) -> range:
    return range(number * BLOCK, (number + 1) * BLOCK)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("weights"))


class Decoder:
    """Stands for the autoencoder: ellipses, and nothing at the calls in `fails`. Keeps the latents that it saw."""

    def __init__(self, fails: frozenset[int] = frozenset(), stray: bool = False) -> None:
        self.calls: list[torch.Tensor] = []
        self.fails = fails
        self.stray = stray

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        self.calls.append(latents)
        label = np.zeros_like(ellipse_label()) if len(self.calls) - 1 in self.fails else ellipse_label()
        if self.stray:
            label[96, 100:110] = LESIONS[0]
        return torch.from_numpy(one_hot_maps(label)[None].astype(np.float32)) / 16


def labels_with(bundle: Bundle, decoder: Decoder, plan: PairPlan) -> GeneratedLabels:
    labels = GeneratedLabels(bundle, plan, CPU)
    labels.autoencoder = decoder  # type: ignore[assignment]
    return labels


def test_only_what_failed_is_drawn_again_and_keeps_its_place(bundle: Bundle) -> None:
    good, patchy = Decoder(), Decoder(fails=frozenset({2, 5, 8}))
    plan = PairPlan(steps=2)
    first = labels_with(bundle, good, plan).draw(block(3))
    second = labels_with(bundle, patchy, plan).draw(block(3))
    assert [draw.attempts for draw in first] == [1] * BLOCK
    assert len(good.calls) == BLOCK
    # Members 2 and 5 fail; both are tried once more, and member 2, which fails again, a third time.
    assert [draw.attempts for draw in second] == [1, 1, 3, 1, 1, 2, 1, 1]
    assert len(patchy.calls) == BLOCK + 2 + 1
    assert all(draw.problems == () for draw in second)
    # Attempts differ in their noise, and what did not fail is what it was.
    assert all(torch.equal(a, b) for a, b in zip(good.calls, patchy.calls[:BLOCK], strict=True))
    assert len({call.sum().item() for call in patchy.calls}) == BLOCK + 2 + 1


class Fussy:
    """Stands for the autoencoder: a tumour in labels whose latents lie above 0 in sum, and none in the others."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        labels = [ellipse_label(tumour=bool(total > 0)) for total in latents.sum(dim=(1, 2, 3))]
        return torch.from_numpy(np.stack([one_hot_maps(label) for label in labels]).astype(np.float32)) / 16


def test_an_accelerator_draws_again_in_fewer_calls_and_keeps_the_same_attempts(bundle: Bundle) -> None:
    kept, calls = [], []
    for compute in (CPU, Accelerator(CPU.device, "fp32")):
        labels = GeneratedLabels(bundle, PairPlan(tumour=True, steps=1), compute)
        labels.autoencoder = Fussy()  # type: ignore[assignment]
        sizes: list[int] = []
        labels.denoiser.register_forward_pre_hook(lambda _, inputs, sizes=sizes: sizes.append(len(inputs[0])))
        kept.append([(draw.attempts, draw.problems) for draw in labels.draw(block(0))])
        calls.append(sizes)
    assert kept[0] == kept[1]
    assert max(attempts for attempts, _ in kept[0]) > 1
    assert set(calls[0][1:]) == {REDRAWN_TOGETHER}
    assert set(calls[1][1:]) == {WIDE_REDRAWN_TOGETHER}
    assert len(calls[1]) < len(calls[0])


def test_a_label_that_fails_every_time_is_kept_and_says_why(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_blocks, "label_problems", lambda label, lesion: ("it looks odd",))
    draws = labels_with(bundle, Decoder(), PairPlan(steps=1)).draw(block(0))
    assert all(draw.attempts == MAX_ATTEMPTS and draw.problems == ("it looks odd",) for draw in draws)


def test_weights_that_draw_no_brain_at_all_are_refused(bundle: Bundle) -> None:
    with pytest.raises(WeightsError, match="drew no brain for pair 0"):
        labels_with(bundle, Decoder(fails=frozenset(range(100))), PairPlan(steps=1)).draw(block(0))


def test_stray_lesion_pixels_give_way_to_tissue(bundle: Bundle) -> None:
    draws = labels_with(bundle, Decoder(stray=True), PairPlan(steps=1)).draw(block(0))
    assert all(lesion_pixels(draw.label) == 0 and draw.problems == () for draw in draws)
    assert all(draw.maps[list(LESIONS)].max() == 0 and (draw.maps.sum(axis=0) == 255).all() for draw in draws)


class TwoSided:
    """Stands for the autoencoder: a tumour, and on the other side one of `pixels` pixels at the calls in `calls`."""

    def __init__(self, pixels: int, calls: range) -> None:
        self.pixels, self.calls, self.call = pixels, calls, 0

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        label = ellipse_label(tumour=True)
        if self.call in self.calls:
            label[50:60, 90 : 90 + self.pixels // 10] = LESIONS[0]
        self.call += 1
        return torch.from_numpy(one_hot_maps(label)[None].astype(np.float32)) / 16


def places_of(label: np.ndarray, seen: Iterable[int], bins: int) -> dict[str, tuple[str, ...]]:
    """Places of structures of enough people, who have all heights, and structures at those in `seen`."""
    plain = np.zeros_like(label)
    people = range(FEWEST_PEOPLE)
    return count_places([(k, who, label if k in list(seen) else plain) for k in range(bins) for who in people], bins)


def with_table(bundle: Bundle, table: ConditionTable) -> Bundle:
    """The same weights with another table of what patients' labels hold."""
    config = dataclasses.replace(bundle.config, conditions={"healthy": CONDITIONS, "tumour": table})
    return dataclasses.replace(bundle, config=config)


def two_sided(bundle: Bundle, share: float, decoder: TwoSided) -> list[LabelDraw]:
    """Block 0 of weights whose people have lesions on both sides in this share of their slices."""
    table = dataclasses.replace(CONDITIONS, lesions_across=share)
    labels = GeneratedLabels(with_table(bundle, table), PairPlan(tumour=True, steps=1), CPU)
    labels.autoencoder = decoder  # type: ignore[assignment]
    return labels.draw(block(0))


def test_small_lesions_across_the_midline_give_way_where_people_rarely_have_them(bundle: Bundle) -> None:
    draws = two_sided(bundle, RARE, TwoSided(ACROSS_PIXELS - 10, range(100)))
    assert all(draw.attempts == 1 and draw.problems == () for draw in draws)
    assert all((np.isin(draw.label, LESIONS) == np.isin(ellipse_label(tumour=True), LESIONS)).all() for draw in draws)
    kept = two_sided(bundle, RARE + 0.01, TwoSided(ACROSS_PIXELS - 10, range(100)))
    assert all(draw.attempts == 1 and across(draw.label).sum() == ACROSS_PIXELS - 10 for draw in kept)


def test_large_lesions_across_the_midline_are_drawn_again(bundle: Bundle) -> None:
    draws = two_sided(bundle, 0.0, TwoSided(ACROSS_PIXELS, range(2, 3)))
    assert [draw.attempts for draw in draws] == [1, 1, 2, 1, 1, 1, 1, 1]
    assert not any(across(draw.label).any() for draw in draws)
    draws = two_sided(bundle, 0.0, TwoSided(ACROSS_PIXELS, range(100)))
    assert all(draw.attempts == MAX_ATTEMPTS and draw.problems == (BOTH_SIDES,) for draw in draws)


def test_a_structure_far_from_its_place_gives_way_where_places_were_counted(bundle: Bundle) -> None:
    label = ellipse_label(tumour=True)
    label[92:100, 100:110] = BRAINSTEM
    strayed = label.copy()
    strayed[60:66, 140:146] = BRAINSTEM

    class Strayed(Decoder):
        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(one_hot_maps(strayed)[None].astype(np.float32)) / 16

    for seen, kept in ((range(2), label), (range(0), strayed)):
        table = dataclasses.replace(CONDITIONS, places=places_of(label, seen, 2))
        draws = labels_with(with_table(bundle, table), Strayed(), PairPlan(tumour=True, steps=1)).draw(block(0))
        assert all((draw.label == kept).all() and draw.attempts == 1 for draw in draws)
        assert all((draw.maps.argmax(axis=0) == kept).all() for draw in draws)


def test_a_place_counts_at_its_height(bundle: Bundle) -> None:
    label = ellipse_label(tumour=True)
    label[92:100, 100:110] = BRAINSTEM

    class Stem(Decoder):
        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(one_hot_maps(label)[None].astype(np.float32)) / 16

    table = ConditionTable((0.0, 0.25, 0.5, 0.75, 1.0), (0.01, 0.2), ((1.0, 1.0),) * 4, places={})
    table = dataclasses.replace(table, places=places_of(label, [0], 4))
    draws = labels_with(with_table(bundle, table), Stem(), PairPlan(tumour=True, steps=1)).draw(range(4 * BLOCK))
    heights = np.array([draw.position_mm for draw in draws], float)
    middle = GRID_ORIGIN[2] + (GRID_SHAPE[2] - 1) / 2
    kept = np.array([(draw.label == BRAINSTEM).any() for draw in draws])
    assert (kept == (heights < middle)).all()
    assert 0 < kept.sum() < len(kept)


def test_a_lesion_that_was_not_asked_for_is_drawn_again_and_never_kept(bundle: Bundle) -> None:
    class Ill(Decoder):
        """A tumour at the first call for each pair, or at all calls; a few pixels of one at the others."""

        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            self.calls.append(latents)
            label = ellipse_label(tumour=not self.stray or len(self.calls) <= BLOCK)
            label[96, 100:110] = LESIONS[0]
            return torch.from_numpy(one_hot_maps(label)[None].astype(np.float32)) / 16

    plan = PairPlan(tumour=True, tumour_fraction=0.0, steps=1)
    draws = labels_with(bundle, Ill(stray=True), plan).draw(block(0))
    assert all((draw.attempts, draw.problems, lesion_pixels(draw.label)) == (2, (), 0) for draw in draws)
    draws = labels_with(bundle, Ill(), plan).draw(block(0))
    assert all(draw.attempts == MAX_ATTEMPTS and lesion_pixels(draw.label) == 0 for draw in draws)
    assert all(draw.problems == ("a lesion was not asked for",) for draw in draws)


def test_maps_are_bytes_that_sum_to_255_and_label_is_their_argmax(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_blocks, "label_problems", lambda label, lesion: ())
    draws = GeneratedLabels(bundle, PairPlan(tumour=True, tumour_fraction=0.5, steps=2), CPU).draw(block(1))
    assert [draw.lesion for draw in draws] == [False, True] * 4
    for draw in draws:
        assert draw.maps.dtype == np.uint8
        assert (draw.maps.sum(axis=0, dtype=int) == 255).all()
        assert (draw.maps.argmax(axis=0) == draw.label).all()
        assert draw.position_mm is not None
        assert -72 + 0.3 * 159 <= draw.position_mm <= -72 + 0.7 * 159
        assert draw.lesion or lesion_pixels(draw.label) == 0


@pytest.mark.parametrize("changes", [{"guidance": 2.0}, {"seed": 1}, {"steps": 3}, {"sampler": "ancestral"}])
def test_settings_reach_the_labels(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]) -> None:
    monkeypatch.setattr(label_blocks, "label_problems", lambda label, lesion: ())
    plain = GeneratedLabels(bundle, PairPlan(steps=2), CPU).draw(block(0))
    other = GeneratedLabels(bundle, PairPlan(**{"steps": 2, **changes}), CPU)  # type: ignore[arg-type]
    changed = other.draw(block(0))
    assert not (plain[0].maps == changed[0].maps).all()
    assert all((a.maps == b.maps).all() for a, b in zip(changed, other.draw(block(0)), strict=True))


def test_the_weights_own_sampler_draws_the_labels(bundle: Bundle) -> None:
    """Its last weights are of the clean latents, so that twice these make latents twice as large."""
    seen = []
    for last in ((0.0, 0.5, 0.25), (0.0, 1.0, 0.5)):
        solver = Solver((700, 100), ((0.9, 0.2), last))
        config = dataclasses.replace(bundle.config, solvers={"healthy": solver})
        decoder = Decoder()
        labels = labels_with(dataclasses.replace(bundle, config=config), decoder, PairPlan())
        sizes: list[int] = []
        labels.denoiser.register_forward_pre_hook(lambda _, inputs, sizes=sizes: sizes.append(len(inputs[0])))
        labels.draw(block(0))
        assert sizes == [BLOCK, BLOCK]
        seen.append((torch.cat(decoder.calls) - labels.mean) / labels.std)
    torch.testing.assert_close(seen[1], 2 * seen[0], rtol=1e-4, atol=1e-4)


def test_the_weights_own_sampler_holds_to_the_limit_of_latents(bundle: Bundle) -> None:
    """Its one evaluation is the label: what the denoiser makes of noise, which lies beyond a narrow limit."""
    assert bundle.config.latent is not None
    narrow = dataclasses.replace(bundle.config.latent, limit=0.25)
    solvers = {"healthy": Solver((900,), ((0.0, 1.0),))}
    config = dataclasses.replace(bundle.config, latent=narrow, solvers=solvers)
    decoder = Decoder()
    labels = labels_with(dataclasses.replace(bundle, config=config), decoder, PairPlan())
    labels.draw(block(0))
    clean = (torch.cat(decoder.calls) - labels.mean) / labels.std
    assert clean.abs().max().item() == pytest.approx(0.25, rel=1e-3)


@given(st.integers(0, 2**32), st.booleans())
def test_conditions_come_from_the_bins_that_the_training_had(seed: int, lesion: bool) -> None:
    position, presence, load = draw_condition(CONDITIONS, lesion, np.random.default_rng(seed))
    assert 0.3 <= position <= 0.7
    assert presence == lesion
    assert 0.01 <= load <= 0.2 if lesion else load == 0


def test_conditions_follow_the_counts() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_condition(CONDITIONS, True, rng) for _ in range(4000)]
    bins = Counter((position >= 0.5, load >= 0.05) for position, _, load in drawn)
    for place, count in {(False, False): 2, (False, True): 2, (True, False): 1, (True, True): 3}.items():
        assert bins[place] / 4000 == pytest.approx(count / 8, abs=0.03)


def test_a_table_without_the_kind_is_refused() -> None:
    table = ConditionTable((0.0, 1.0), (0.0, 1.0), ((1.0, 0.0),))
    with pytest.raises(WeightsError, match="no slices with a lesion"):
        draw_condition(table, True, np.random.default_rng(0))


def test_unknown_sampler_and_labels_that_are_not_numbers_are_said(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="no sampler 'euler'"):
        GeneratedLabels(bundle, PairPlan(sampler="euler"), CPU).draw(block(0))
    broken = Decoder()
    broken.decode = lambda latents: torch.full((1, 8, 192, 256), torch.nan)  # type: ignore[method-assign]
    with pytest.raises(WeightsError, match="not numbers"):
        labels_with(bundle, broken, PairPlan(steps=1)).draw(block(0))


def test_a_bundle_without_the_denoiser_says_how_to_train_it(bundle: Bundle) -> None:
    config = dataclasses.replace(
        bundle.config, sha256={k: v for k, v in bundle.config.sha256.items() if "tumour" not in k}
    )
    with pytest.raises(WeightsError, match="train-labels"):
        GeneratedLabels(dataclasses.replace(bundle, config=config), PairPlan(tumour=True), CPU)


def test_a_lesion_in_a_loose_piece_is_none(bundle: Bundle) -> None:
    class Loose(Decoder):
        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            self.calls.append(latents)
            label = ellipse_label()
            # Apart from the brain, and of fewer pixels than count as a part of it.
            label[2:8, 2:8] = LESIONS[0]
            return torch.from_numpy(one_hot_maps(label)[None].astype(np.float32)) / 16

    draws = labels_with(bundle, Loose(), PairPlan(tumour=True, tumour_fraction=1.0, steps=1)).draw(block(0)[:1])
    assert lesion_pixels(draws[0].label) == 0
    assert "the lesion asked for is absent" in draws[0].problems
    assert draws[0].attempts == MAX_ATTEMPTS
