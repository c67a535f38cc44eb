"""The plane-sweep cost volume against a slow second form, a planted plane, and the memory that it may take."""

import json
from dataclasses import astuple
from pathlib import Path
from weakref import ref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from egodepth.geometry.cameras import pinhole
from egodepth.geometry.poses import pose_to_transform
from egodepth.geometry.warping import project
from egodepth.networks.cost_volume import CostVolume, depth_hypotheses, match, unmatched
from tests.view_synthesis import back_project

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "manydepth.json").read_text())
BATCH, LOOKUPS, CHANNELS, HEIGHT, WIDTH = 2, 3, 8, 16, 24
INTRINSICS = torch.from_numpy(pinhole(14.0, 30.0, 12.0, 8.0)).repeat(BATCH, 1, 1)
DEPTHS = torch.linspace(0.5, 6, 12)
BIN_BYTES = 4 * CHANNELS * HEIGHT * WIDTH


def random_inputs(batch: int = BATCH, lookups: int = LOOKUPS) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Current and lookup features, transforms, and flags that are all true."""
    generator = torch.Generator().manual_seed(11)
    current = torch.rand(batch, CHANNELS, HEIGHT, WIDTH, generator=generator)
    theirs = torch.rand(batch, lookups, CHANNELS, HEIGHT, WIDTH, generator=generator)
    motion = 0.4 * (torch.rand(batch * lookups, 6, generator=generator) - 0.5)
    transforms = pose_to_transform(motion[:, :3] / 4, motion[:, 3:]).unflatten(0, (batch, lookups))
    return current, theirs, transforms, torch.ones(batch, lookups, dtype=torch.bool)


def same(found: CostVolume, expected: CostVolume) -> bool:
    return all(map(torch.equal, astuple(found), astuple(expected)))


# --- hypotheses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", REFERENCE["bins"], ids=lambda bins: f"{bins['spacing']} {bins['range']}")
def test_hypotheses_have_the_published_spacings(expected: dict) -> None:
    depths = depth_hypotheses(*map(torch.tensor, map(float, expected["range"])), 96, expected["spacing"])
    first, last = expected["first"], expected["last"]
    assert depths[: len(first)].tolist() == pytest.approx(first, rel=1e-6, abs=1e-6)
    assert depths[-len(last) :].tolist() == pytest.approx(last, rel=1e-6, abs=1e-6)
    assert depths.shape == (96,)
    assert (depths.diff() > 0).all()


# --- against the definition, cell by cell ----------------------------------------------------------------------


def slow_costs(current: Tensor, theirs: Tensor, transforms: Tensor, valid: Tensor) -> Tensor:
    """Costs (B, N, h, w) before missing cells are filled, one frame and one depth at a time."""
    costs = torch.zeros(len(current), len(DEPTHS), HEIGHT, WIDTH)
    border = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    border[2:-2, 2:-2] = True
    for item in range(len(current)):
        for bin_index, depth in enumerate(DEPTHS):
            counts = torch.zeros(HEIGHT, WIDTH)
            for frame in range(theirs.shape[1]):
                if not valid[item, frame]:
                    continue
                points = back_project(torch.full((1, 1, HEIGHT, WIDTH), float(depth)), INTRINSICS[:1])
                x, y = project(points, INTRINSICS[:1], transforms[item, frame][None])[0]
                grid = torch.stack([2 * x / (WIDTH - 1) - 1, 2 * y / (HEIGHT - 1) - 1], dim=-1)
                feature = theirs[item, frame][None]
                warped = F.grid_sample(feature, grid[None], padding_mode="zeros", align_corners=True)[0]
                seen = border & (x >= 2) & (x <= WIDTH - 2) & (y >= 2) & (y <= HEIGHT - 2)
                difference = (warped - current[item]).abs().mean(0) * seen
                costs[item, bin_index] += difference
                counts += difference > 0
            costs[item, bin_index] /= counts + 1e-7
    return costs


def test_the_volume_is_what_the_definition_says_cell_by_cell() -> None:
    current, theirs, transforms, valid = random_inputs()
    valid[0, 1] = valid[1, 0] = False
    costs = slow_costs(current, theirs, transforms, valid)
    missing = costs == 0
    assert 0.1 < missing.float().mean() < 0.9
    volume = match(current, theirs, transforms, valid, INTRINSICS, DEPTHS)
    expected = torch.where(missing, costs.amax(1, keepdim=True), costs)
    torch.testing.assert_close(volume.cost, expected, rtol=0, atol=1e-5)
    assert torch.equal(volume.confidence, ~missing.any(1, keepdim=True))
    lowest = torch.where(expected == 0, 100, expected).argmin(1, keepdim=True)
    assert torch.equal(volume.lowest_cost_depth, DEPTHS[lowest])


def test_pixels_at_the_border_are_never_matched() -> None:
    current, theirs, transforms, valid = random_inputs()
    volume = match(current, theirs, transforms, valid, INTRINSICS, DEPTHS)
    inner = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    inner[2:-2, 2:-2] = True
    assert volume.cost[..., ~inner].abs().max() == 0
    assert not volume.confidence[..., ~inner].any()
    assert volume.confidence.any()


# --- missing frames --------------------------------------------------------------------------------------------


def test_an_invalid_frame_counts_as_if_it_were_not_there() -> None:
    current, theirs, transforms, valid = random_inputs()
    valid[:, 1] = False
    kept = [0, 2]
    expected = match(current, theirs[:, kept], transforms[:, kept], valid[:, kept], INTRINSICS, DEPTHS)
    assert same(match(current, theirs, transforms, valid, INTRINSICS, DEPTHS), expected)


def test_what_stands_in_an_invalid_frame_does_not_matter() -> None:
    current, theirs, transforms, valid = random_inputs()
    valid[0, 0] = False
    expected = match(current, theirs, transforms, valid, INTRINSICS, DEPTHS)
    theirs[0, 0], transforms[0, 0] = float("nan"), 0
    assert same(match(current, theirs, transforms, valid, INTRINSICS, DEPTHS), expected)


def test_without_a_valid_frame_there_is_no_cost_and_the_nearest_depth() -> None:
    current, theirs, transforms, valid = random_inputs()
    volume = match(current, theirs, transforms, torch.zeros_like(valid), INTRINSICS, DEPTHS)
    assert same(volume, unmatched(current, DEPTHS))
    assert not volume.cost.any()
    assert not volume.confidence.any()
    assert (volume.lowest_cost_depth == DEPTHS[0]).all()


# --- memory ----------------------------------------------------------------------------------------------------


class MemoryWatch(TorchDispatchMode):
    """Bytes of what operators make: the largest of them, and the most that was alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[ref[Tensor]] = []
        self.largest = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.made += [ref(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.made = [made for made in self.made if made() is not None]
        storages = [made().untyped_storage() for made in self.made]
        sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
        self.largest = max(self.largest, 0, *sizes.values())
        self.peak = max(self.peak, sum(sizes.values()))
        return result


@pytest.mark.parametrize("bins", [1, 3, 5, 64])
def test_any_number_of_bins_at_a_time_gives_the_same_volume(bins: int) -> None:
    inputs = random_inputs()
    whole = match(*inputs, INTRINSICS, DEPTHS, memory_per_image=len(DEPTHS) * BIN_BYTES)
    assert same(match(*inputs, INTRINSICS, DEPTHS, memory_per_image=bins * BIN_BYTES), whole)


@pytest.mark.parametrize("lookups", [1, 3])
@pytest.mark.parametrize("bins", [2, 6])
def test_warped_features_take_no_more_memory_than_allowed(bins: int, lookups: int) -> None:
    channels = 64
    current = torch.rand(1, channels, HEIGHT, WIDTH)
    _, _, transforms, valid = random_inputs(1, lookups)
    theirs = torch.rand(1, lookups, channels, HEIGHT, WIDTH)
    depths = torch.linspace(0.5, 6, 96)
    bound = bins * current.numel() * 4
    volume_bytes = len(depths) * HEIGHT * WIDTH * 4
    with MemoryWatch() as bounded:
        match(current, theirs, transforms, valid, INTRINSICS[:1], depths, memory_per_image=bound)
    with MemoryWatch() as unbounded:
        match(current, theirs, transforms, valid, INTRINSICS[:1], depths, memory_per_image=10**9)
    # What remains is lists of indices, which argmin makes, at twice the bytes of a cost.
    assert bounded.largest <= max(bound, 2 * volume_bytes)
    assert bounded.peak <= bound + 6 * volume_bytes
    assert unbounded.largest == channels * volume_bytes


def test_a_volume_has_no_gradient_and_its_features_stay_as_they_were() -> None:
    current, theirs, transforms, valid = random_inputs()
    before = current.clone(), theirs.clone()
    volume = match(current.requires_grad_(), theirs.requires_grad_(), transforms, valid, INTRINSICS, DEPTHS)
    assert not any(part.requires_grad for part in astuple(volume))
    assert torch.equal(current, before[0])
    assert torch.equal(theirs, before[1])


def test_half_precision_features_are_matched_in_float32_under_autocast() -> None:
    current, theirs, transforms, valid = random_inputs()
    current, theirs = current.bfloat16(), theirs.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        volume = match(current, theirs, transforms, valid, INTRINSICS, DEPTHS)
    assert same(volume, match(current.float(), theirs.float(), transforms, valid, INTRINSICS, DEPTHS))


# --- a planted plane -------------------------------------------------------------------------------------------

PLANE_DEPTH = 3.5
PLANE_DEPTHS = torch.arange(1, 8.25, 0.25)
PLANE_CAMERA = torch.from_numpy(pinhole(30.0, 30.0, 32.0, 16.0))
PLANE_SIZE = (32, 64)
PAST, FUTURE, ASIDE = (0.35, 0.1, 0.5), (-0.4, 0.05, -0.5), (0.4, 0.0, 0.0)


def plane_features(translation: tuple[float, float, float] = (0, 0, 0)) -> Tensor:
    """What a camera sees of a textured plane at `PLANE_DEPTH`; points of it are shifted by `translation`: (C, h, w)."""
    shift = torch.tensor(translation)
    depth = torch.full((1, 1, *PLANE_SIZE), PLANE_DEPTH + float(shift[2]))
    x, y = back_project(depth, PLANE_CAMERA[None])[0, :2] - shift[:2, None, None]
    waves = [(2.1, 0.4, 0.0), (0.7, 2.3, 1.0), (2.9, -1.6, 2.0), (1.3, 1.9, 3.0), (3.4, 0.9, 4.0), (-0.8, 2.8, 5.0)]
    return torch.stack([torch.sin(along * x + down * y + phase) for along, down, phase in waves])


def found_share(translations: list, transforms: Tensor) -> float:
    """Share of the pixels in the middle whose lowest cost lies at the plane's depth."""
    theirs = torch.stack([plane_features(translation) for translation in translations])[None]
    valid = torch.ones(1, len(translations), dtype=torch.bool)
    volume = match(plane_features()[None], theirs, transforms, valid, PLANE_CAMERA[None], PLANE_DEPTHS)
    middle = volume.lowest_cost_depth[0, 0, 8:-8, 16:-16]
    return float((middle == PLANE_DEPTH).float().mean())


@pytest.mark.parametrize(
    "translations",
    [[PAST], [FUTURE], [ASIDE], [PAST, FUTURE]],
    ids=["past", "future", "aside", "past and future"],
)
def test_a_planted_plane_is_found_at_its_depth(translations: list) -> None:
    motions = torch.tensor(translations)
    transforms = pose_to_transform(torch.zeros_like(motions), motions)[None]
    assert found_share(translations, transforms) > 0.97
    reversed_motions = pose_to_transform(torch.zeros_like(motions), -motions)[None]
    assert found_share(translations, reversed_motions) < 0.1
