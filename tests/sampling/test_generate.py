from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from brainspade_cli.anatomy import BACKGROUND, OEDEMA, WM
from brainspade_cli.bundle import Bundle
from brainspade_cli.devices import Compute, open_compute
from brainspade_cli.errors import BrainspadeError, InputError
from brainspade_cli.sampling import generate, label_blocks
from brainspade_cli.sampling.generate import Painter, Pair, generate_pairs
from brainspade_cli.sampling.label_blocks import LabelDraw
from brainspade_cli.sampling.plan import BLOCK, PairPlan
from brainspade_cli.sampling.shards import Shard
from brainspade_cli.slices import BACKGROUND_VALUE
from brainspade_cli.styles.pool import StyleChoice
from tests.sampling.parts import (
    Accelerator,
    EllipseLabels,
    ellipse_label,
    flat_pool,
    one_hot_maps,
    tiny_bundle,
)

PAIRS = 11
POOL = flat_pool(("t1", "flair"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def _pass_all_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random networks make no brains; redrawing is tested with the blocks."""
    monkeypatch.setattr(label_blocks, "label_problems", lambda label, lesion: ())


def make(bundle: Bundle, indices: range | list[int], precision: str = "fp32", **options: object) -> dict[int, Pair]:
    plan = PairPlan(seed=5, tumour=True, tumour_fraction=0.5, steps=2)
    compute = Compute(torch.device("cpu"), precision)
    pairs = generate_pairs(bundle, POOL, plan, indices, compute=compute, **options)  # type: ignore[arg-type]
    return {pair.index: pair for pair in pairs}


def same(left: Pair, right: Pair) -> bool:
    return bool(
        (left.draw.maps == right.draw.maps).all()
        and (left.draw.label == right.draw.label).all()
        and (left.images == right.images).all()
        and left.draw.position_mm == right.draw.position_mm
    )


@pytest.fixture(scope="module")
def reference(bundle: Bundle) -> Iterator[dict[int, Pair]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_blocks, "label_problems", lambda label, lesion: ())
        pairs = make(bundle, range(PAIRS))
        # What follows holds for images that are mixed from two as well.
        assert any(pair.draw.oedema_contrast < 1 for pair in pairs.values())
        assert any(any(pair.spot_pixels) for pair in pairs.values())
        yield pairs


@pytest.mark.parametrize(("batch_size", "threads"), [(1, 2), (7, 1), (16, 2)])
def test_pairs_are_the_same_bits_at_any_batch_size_and_thread_count(
    bundle: Bundle, reference: dict[int, Pair], batch_size: int, threads: int
) -> None:
    torch.set_num_threads(threads)
    try:
        pairs = make(bundle, range(PAIRS), batch_size=batch_size)
    finally:
        torch.set_num_threads(1)
    assert list(pairs) == list(range(PAIRS))
    assert all(same(pairs[index], reference[index]) for index in range(PAIRS))


def test_shards_and_interruptions_change_no_bit(bundle: Bundle, reference: dict[int, Pair]) -> None:
    parts = [make(bundle, Shard(number, 3).indices(PAIRS)) for number in range(3)]
    together = {index: pair for part in parts for index, pair in part.items()}
    assert sorted(together) == list(range(PAIRS))
    rest = make(bundle, [2, 3, 9])
    assert list(rest) == [2, 3, 9]
    for pairs in (together, rest):
        assert all(same(pair, reference[index]) for index, pair in pairs.items())


def test_bf16_is_as_reproducible(bundle: Bundle) -> None:
    whole, part = make(bundle, range(BLOCK), "bf16"), make(bundle, [4], "bf16", batch_size=1)
    assert same(whole[4], part[4])


def test_seeds_pairs_and_channels_differ(bundle: Bundle, reference: dict[int, Pair]) -> None:
    assert not (reference[0].draw.maps == reference[1].draw.maps).all()
    assert not (reference[0].images[0] == reference[0].images[1]).all()
    assert [pair.draw.lesion for pair in reference.values()] == [index % 2 == 1 for index in range(PAIRS)]


def test_where_the_label_is_mostly_background_so_is_the_image(bundle: Bundle) -> None:
    for pair in make(bundle, range(3), labels=EllipseLabels()).values():
        outside = pair.draw.label == BACKGROUND
        assert pair.images.dtype == np.float32
        assert pair.images.shape == (2, 192, 256)
        assert (pair.images[:, outside] == BACKGROUND_VALUE).all()
        assert (pair.images[:, ~outside] > BACKGROUND_VALUE).all()


def test_given_labels_need_no_denoiser(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    network = Bundle.network
    monkeypatch.setattr(
        Bundle, "network", lambda self, name, device: loaded.append(name) or network(self, name, device)
    )
    labels = EllipseLabels()
    assert list(make(bundle, [0, 8, 9], labels=labels)) == [0, 8, 9]
    assert loaded == ["spade_generator"]
    assert labels.asked == 2


def test_only_wanted_images_are_painted_on_a_cpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[int] = []
    paint = Painter._paint
    monkeypatch.setattr(
        Painter, "_paint", lambda self, maps, choices: painted.append(len(maps)) or paint(self, maps, choices)
    )
    make(bundle, [3], labels=EllipseLabels())
    assert painted == [1, 1]


def test_a_faint_oedema_lies_between_a_plain_one_and_white_matter(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = Painter(bundle, Compute(torch.device("cpu"), "fp32"), None, lambda text: None)
    label = ellipse_label(tumour=True)
    healed = np.where(label == OEDEMA, WM, label).astype(np.uint8)
    draws = [
        LabelDraw(one_hot_maps(label), label, 0.0, lesion=True),
        LabelDraw(one_hot_maps(healed), healed, 0.0, lesion=True),
        LabelDraw(one_hot_maps(label), label, 0.0, lesion=True, oedema_contrast=0.4),
    ]
    plain, without, faint = painter.paint_block(draws, [POOL.draw(0, 0)] * 3, range(3)).values()
    oedema = label == OEDEMA
    assert not np.allclose(plain[:, oedema], without[:, oedema], atol=1e-3)
    assert np.allclose(faint, 0.4 * plain + 0.6 * without, atol=1e-5)
    assert (faint[:, label == BACKGROUND] == BACKGROUND_VALUE).all()
    assert (faint[:, label != BACKGROUND] > BACKGROUND_VALUE).all()
    # Three at a time: the two parts of the mixture come in different batches, the first of which is halved.
    painter.batch.size = 3
    paint = Painter._paint

    def small_memory(self: Painter, maps: Sequence[np.ndarray], choices: Sequence[StyleChoice]) -> np.ndarray:
        if len(maps) > 2:
            raise torch.OutOfMemoryError
        return paint(self, maps, choices)

    monkeypatch.setattr(Painter, "_paint", small_memory)
    cut = painter.paint_block(draws, [POOL.draw(0, 0)[:1]] * 3, [2])
    assert painter.batch.size == 1
    assert np.allclose(cut[2], faint[:1], atol=1e-4)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_given_oedemas_are_faint_as_drawn_ones_are(bundle: Bundle, fraction: float) -> None:
    class Patients(EllipseLabels):
        def draw(self, members: range) -> list[LabelDraw]:
            label = ellipse_label(tumour=True)
            return [LabelDraw(one_hot_maps(label), label, 0.0, lesion=True) for _ in members]

    plan, compute = PairPlan(seed=1, faint_fraction=fraction), Compute(torch.device("cpu"), "fp32")
    pair = next(generate_pairs(bundle, POOL, plan, [0], compute=compute, labels=Patients()))
    assert (pair.draw.oedema_contrast < 1) == bool(fraction)


def test_batches_halve_when_memory_runs_out(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    notices: list[str] = []
    painter = Painter(bundle, Compute(torch.device("cpu"), "fp32"), None, notices.append)
    draws = EllipseLabels().draw(range(BLOCK))
    choices = [POOL.draw(0, place) for place in range(BLOCK)]
    whole = painter.paint_block(draws, choices, range(BLOCK))
    paint = Painter._paint

    def small_memory(self: Painter, maps: list[object], choices: list[object]) -> np.ndarray:
        if len(maps) > 2:
            raise torch.OutOfMemoryError
        return paint(self, maps, choices)  # type: ignore[arg-type]

    monkeypatch.setattr(Painter, "_paint", small_memory)
    painter.batch.size = 10
    halved = painter.paint_block(draws, choices, range(BLOCK))
    assert painter.batch.size == 2
    assert notices[-1].endswith("painted 2 at a time.")
    assert all(np.allclose(whole[place], halved[place], atol=1e-4) for place in range(BLOCK))

    def no_memory(self: Painter, maps: list[object], choices: list[object]) -> np.ndarray:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Painter, "_paint", no_memory)
    with pytest.raises(BrainspadeError, match="does not hold even one image"):
        painter.paint_block(draws, choices, [0])


def test_lanes_that_run_out_of_memory_together_halve_the_batch_once(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find two too many; one at a time fits, and is what both go on with."""
    notices: list[str] = []
    painter = Painter(bundle, Compute(torch.device("cpu"), "fp32"), None, notices.append)
    painter.batch.size = 2
    both, paint = threading.Barrier(2, timeout=60), Painter._paint

    def crowded(self: Painter, maps: Sequence[np.ndarray], choices: Sequence[StyleChoice]) -> np.ndarray:
        if len(maps) > 1:
            both.wait()
            raise torch.OutOfMemoryError
        return paint(self, maps, choices)

    monkeypatch.setattr(Painter, "_paint", crowded)
    draws = EllipseLabels().draw(range(2))
    choices = [POOL.draw(0, place) for place in range(2)]
    with ThreadPoolExecutor(2) as lanes:
        work = [lanes.submit(painter.paint_block, draws, choices, [0]) for _ in range(2)]
        assert all(list(each.result()) == [0] for each in work)
    assert painter.batch.size == 1
    assert len(notices) == 1


def test_labels_are_drawn_fewer_at_a_time_when_memory_runs_out(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Compute(torch.device("cpu"), "fp32")
    whole = [draw.label for draw in label_blocks.GeneratedLabels(bundle, PairPlan(steps=2), cpu).draw(range(BLOCK))]
    at_once = label_blocks.GeneratedLabels._at_once
    notices: list[str] = []

    def small_memory(self: label_blocks.GeneratedLabels, requests: list[object], together: int) -> list[object]:
        if together > 2:
            raise torch.OutOfMemoryError
        return at_once(self, requests, together)  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(label_blocks.GeneratedLabels, "_at_once", small_memory)
    source = label_blocks.GeneratedLabels(bundle, PairPlan(steps=2), cpu, notices.append)
    parts = [draw.label for draw in source.draw(range(BLOCK))]
    assert source.batch.size == 2
    assert notices[-1].endswith("labels are now drawn 2 at a time.")
    differing = np.mean([np.mean(one != other) for one, other in zip(whole, parts, strict=True)])
    assert differing < 1e-3

    def no_memory(self: label_blocks.GeneratedLabels, requests: list[object], together: int) -> list[object]:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(label_blocks.GeneratedLabels, "_at_once", no_memory)
    with pytest.raises(BrainspadeError, match="does not hold even one label; use --device cpu"):
        make(bundle, [0])


def test_leaving_the_iterator_early_ends_the_work(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, ended = label_blocks.GeneratedLabels.draw, []

    def quick_first(self: label_blocks.GeneratedLabels, members: range) -> list[label_blocks.LabelDraw]:
        if members[0] == 0:
            return EllipseLabels().draw(members)
        try:
            return draw(self, members)
        except label_blocks.StoppedError:
            ended.append(members[0] // BLOCK)
            raise

    monkeypatch.setattr(label_blocks.GeneratedLabels, "draw", quick_first)
    plan = PairPlan(sampler="ancestral", steps=1000)
    compute = Compute(torch.device("cpu"), "fp32")
    pairs = generate_pairs(bundle, POOL, plan, range(3 * BLOCK), compute=compute)
    assert next(pairs).index == 0
    pairs.close()
    assert ended == [1]


def test_leaving_early_ends_the_painting_within_an_image(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of large images takes longer than a scheduler waits between SIGTERM and SIGKILL."""
    paint, painted = Painter._paint, []
    second_block, left = threading.Event(), threading.Event()

    def slowly(self: Painter, maps: Sequence[np.ndarray], choices: Sequence[StyleChoice]) -> np.ndarray:
        painted.append(len(maps))
        if len(painted) == 2 * BLOCK + 2:
            second_block.set()
            assert left.wait(60)
        return paint(self, maps, choices)

    stop = Painter.stop
    monkeypatch.setattr(Painter, "_paint", slowly)
    monkeypatch.setattr(Painter, "stop", lambda self: (stop(self), left.set()))
    compute = Compute(torch.device("cpu"), "fp32")
    source = EllipseLabels()
    # One lane, for the count.
    pairs = generate_pairs(bundle, POOL, PairPlan(), range(3 * BLOCK), compute=compute, labels=source, batch_size=BLOCK)
    assert next(pairs).index == 0
    assert second_block.wait(60)
    pairs.close()
    assert len(painted) == 2 * BLOCK + 2


def test_an_accelerator_makes_the_same_pairs_up_to_rounding(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_blocks, "label_problems", lambda label, lesion: ())
    plan = PairPlan(seed=6, tumour=True, tumour_fraction=0.5, steps=2)

    def run(indices: list[int], batch_size: int | None, kind: type[Compute] = Accelerator) -> dict[int, Pair]:
        compute = kind(torch.device("cpu"), "fp32")
        pairs = generate_pairs(bundle, POOL, plan, indices, compute=compute, batch_size=batch_size)
        return {pair.index: pair for pair in pairs}

    reference = run([*range(PAIRS)], None, Compute)
    whole, small, part = run([*range(PAIRS)], None), run([*range(PAIRS)], 3), run([6, 10], None)
    for index, pair in whole.items():
        # Where two classes tie, rounding decides which is the label, and so which has background's share.
        alike = pair.draw.label == reference[index].draw.label
        assert (~alike).mean() < 1e-4
        assert np.abs(pair.draw.maps.astype(int) - reference[index].draw.maps)[:, alike].max() <= 1
        assert np.abs(pair.images - reference[index].images).mean() < 1e-3
        # No bit of a label depends on the batch size, and the images on nothing else.
        assert (pair.draw.maps == small[index].draw.maps).all()
        assert np.allclose(pair.images, small[index].images, atol=1e-3)
    assert all(same(pair, whole[index]) for index, pair in part.items())


@pytest.mark.parametrize(("kind", "lanes"), [("mps", 1), ("cuda", 3)])
def test_only_a_gpu_of_cuda_gets_orders_from_several_threads(
    monkeypatch: pytest.MonkeyPatch, kind: str, lanes: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * generate.LANE_BYTES, 80 * 2**30))
    assert generate._lane_count(Compute(torch.device(kind), "fp32"), None) == lanes


def test_devices_that_are_not_there_are_said() -> None:
    with pytest.raises(InputError, match="no device 'tpu'"):
        open_compute("tpu")
    with pytest.raises(InputError, match="no precision 'fp8'"):
        open_compute("cpu", "fp8")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="No CUDA device"):
            open_compute("cuda")
    assert open_compute("cpu", "fp32").precision == "fp32"
