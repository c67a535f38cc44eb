"""FA-Depth's L_cr: reference values, what the terms mean, and where gradients go."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from egodepth.evaluation.metrics import abs_rel, median_ratio
from egodepth.evaluation.protocols import lower_median
from egodepth.geometry.poses import axis_angle_to_rotation, rigid_transform
from egodepth.geometry.warping import pixel_grid, sample
from egodepth.losses.bidirectional import (
    BidirectionalTerms,
    bidirectional_loss,
    bidirectional_terms,
    correspondence,
    frame_pair,
)
from egodepth.losses.configurations import BidirectionalConfig
from egodepth.losses.photometric import patch_moments, photometric_error, structural_dissimilarity
from egodepth.losses.smoothness import edge_aware_smoothness, mean_normalised
from tests.hashed_inputs import (
    hashed_depth,
    hashed_disparity,
    hashed_features,
    hashed_image,
    hashed_intrinsics,
    hashed_transform,
)

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "losses.json").read_text())
EXPECTED = REFERENCE["bidirectional"]
SIX_DIGITS = 5e-6
PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, SIX_DIGITS), (torch.float32, 1e-3)], ids=["float64", "float32"]
)
HEIGHT, WIDTH = 12, 20
OVER_PIXELS = (1, 2, 3)


def images(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.stack([hashed_image(1), hashed_image(2)]).to(dtype)


def depths(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.stack([hashed_depth(3), hashed_depth(4)]).to(dtype)


def features(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.stack([hashed_features(5), hashed_features(6)]).to(dtype)


def reference_pair(dtype: torch.dtype = torch.float64):
    return frame_pair(images(dtype), hashed_transform().to(dtype), hashed_intrinsics().to(dtype))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_intrinsics() -> Tensor:
    matrix = [[0.8 * WIDTH, 0, (WIDTH - 1) / 2], [0, 0.8 * WIDTH, (HEIGHT - 1) / 2], [0, 0, 1]]
    return torch.tensor(matrix, dtype=torch.float64)[None]


def motion(axis_angle: tuple[float, ...] = (0, 0, 0), translation: tuple[float, ...] = (0, 0, 0)) -> Tensor:
    rotation = axis_angle_to_rotation(torch.tensor([axis_angle], dtype=torch.float64))
    return rigid_transform(rotation, torch.tensor([translation], dtype=torch.float64))


def small_terms(
    both_depths: Tensor, transform: Tensor, pictures: Tensor | None = None, maps: Tensor | None = None
) -> BidirectionalTerms:
    pictures = noise(2, 1, 3, HEIGHT, WIDTH) if pictures is None else pictures
    return bidirectional_terms(both_depths, maps, frame_pair(pictures, transform, small_intrinsics()))


def planes(*each: float) -> Tensor:
    """Fronto-parallel walls at these depths, (N, 1, 1, H, W)."""
    return torch.tensor(each, dtype=torch.float64)[:, None, None, None, None].expand(-1, 1, 1, HEIGHT, WIDTH)


# --- reference values ------------------------------------------------------------------------------------------


def test_the_inputs_are_those_of_the_reference():
    assert images()[0].mean().item() == pytest.approx(REFERENCE["inputs"]["image_mean"], rel=SIX_DIGITS)
    depth = depths()[0]
    found = {"mean": depth.mean().item(), "min": depth.min().item(), "max": depth.max().item()}
    assert found == pytest.approx(REFERENCE["inputs"]["depth"], rel=SIX_DIGITS)


def test_the_depths_align_as_in_the_reference():
    expected = REFERENCE["alignment"]
    truth, prediction = hashed_depth(3)[0, 0].flatten(), 0.31 * hashed_depth(4)[0, 0].flatten()
    scale = median_ratio(truth.numpy(), prediction.numpy(), lower_median)
    assert scale == pytest.approx(expected["median_scale"], rel=SIX_DIGITS)
    assert abs_rel(truth, scale * prediction).item() == pytest.approx(expected["abs_rel"], rel=SIX_DIGITS)
    errors = {
        factor * scale: abs_rel(truth, factor * scale * prediction).item()
        for factor in torch.linspace(0.8, 1.2, 401).tolist()
    }
    best = min(errors, key=errors.get)
    assert best == pytest.approx(expected["best_scale"], rel=SIX_DIGITS)
    assert errors[best] == pytest.approx(expected["best_abs_rel"], rel=SIX_DIGITS)


@PRECISIONS
@pytest.mark.parametrize("term", ["photometric", "depth", "feature", "valid_share", "flow_share"])
def test_the_terms_give_the_reference_values_in_each_direction(dtype, tolerance, term):
    found = getattr(bidirectional_terms(depths(dtype), features(dtype), reference_pair(dtype)), term)
    assert found.tolist() == pytest.approx(EXPECTED[term], rel=tolerance)
    if term in EXPECTED["means"]:
        assert found.mean().item() == pytest.approx(EXPECTED["means"][term], rel=tolerance)


@PRECISIONS
def test_correspondence_gives_the_reference_values_in_each_direction(dtype, tolerance):
    found = correspondence(depths(dtype), reference_pair(dtype).rays)
    assert found.flow_error_px2.mean(OVER_PIXELS).tolist() == pytest.approx(EXPECTED["flow_error_px2"], rel=tolerance)
    agreement = 1 - found.depth_difference.mean(OVER_PIXELS)
    assert agreement.tolist() == pytest.approx(EXPECTED["depth_agreement"], rel=tolerance)


@PRECISIONS
def test_the_whole_loss_gives_the_reference_value(dtype, tolerance):
    disparities = [mean_normalised(hashed_disparity(seed).to(dtype)) for seed in (3, 4)]
    each = [edge_aware_smoothness(*pair) for pair in zip(disparities, images(dtype), strict=True)]
    assert [value.item() for value in each] == pytest.approx(EXPECTED["smoothness"], rel=tolerance)
    smoothness = edge_aware_smoothness(torch.cat(disparities), images(dtype).flatten(0, 1))
    assert smoothness.item() == pytest.approx(EXPECTED["means"]["smoothness"], rel=tolerance)
    terms = bidirectional_terms(depths(dtype), features(dtype), reference_pair(dtype))
    assert bidirectional_loss(terms, smoothness).item() == pytest.approx(EXPECTED["total"], rel=tolerance)


@PRECISIONS
def test_the_unwarped_images_have_the_reference_error(dtype, tolerance):
    target, source = images(dtype)
    moments = patch_moments(source)
    dissimilarity = structural_dissimilarity(target, moments).mean().item()
    error = photometric_error(target, moments).mean().item()
    expected = EXPECTED["unwarped"]
    assert dissimilarity == pytest.approx(expected["dissimilarity"], rel=tolerance)
    assert error == pytest.approx(expected["photometric_error"], rel=tolerance)


# --- what the terms mean ---------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.floats(0.1, 50))
def test_a_frame_explains_itself(seed: int, scale: float):
    picture, depth, maps = (noise(1, channels, HEIGHT, WIDTH, seed=seed) for channels in (3, 1, 4))
    twice = [torch.stack([x, x]) for x in (picture, scale * (depth + 0.1), maps)]
    terms = small_terms(twice[1], motion(), twice[0], twice[2])
    for term in (terms.photometric, terms.depth, terms.feature):
        assert term.abs().max() < 1e-9
    assert (terms.flow_share == 1).all()
    assert (terms.weight[..., 1:-1, 1:-1] > 1 - 1e-9).all()


@given(st.floats(0.01, 100))
def test_the_unit_of_depth_and_motion_does_not_matter(scale: float):
    both, shift = 1 + noise(2, 1, 1, HEIGHT, WIDTH), (0.03, 0.02, 0.1)
    terms = small_terms(both, motion(translation=shift))
    scaled = small_terms(scale * both, motion(translation=tuple(scale * step for step in shift)))
    torch.testing.assert_close(scaled.photometric, terms.photometric)
    torch.testing.assert_close(scaled.depth, terms.depth)


def test_exchanging_the_frames_exchanges_the_directions():
    there, back = hashed_transform(), torch.linalg.inv(hashed_transform())
    one = bidirectional_terms(depths(), features(), frame_pair(images(), there, hashed_intrinsics()))
    other = bidirectional_terms(
        depths().flip(0), features().flip(0), frame_pair(images().flip(0), back, hashed_intrinsics())
    )
    for term in ("photometric", "depth", "feature", "valid_share"):
        torch.testing.assert_close(getattr(one, term), getattr(other, term).flip(0))


def test_pairs_on_a_further_axis_have_the_terms_of_single_pairs():
    transforms = torch.stack([hashed_transform(), torch.linalg.inv(hashed_transform())])
    pairs = [images(), images().flip(0)]
    together = frame_pair(torch.stack(pairs, dim=1), transforms, hashed_intrinsics())
    maps = [torch.stack([x, x], dim=1) for x in (depths(), features()[..., ::2, ::2])]
    terms = bidirectional_terms(*maps, together)
    for index, (pictures, transform) in enumerate(zip(pairs, transforms, strict=True)):
        single = frame_pair(pictures, transform, hashed_intrinsics())
        alone = bidirectional_terms(depths(), features()[..., ::2, ::2], single)
        for term in ("photometric", "depth", "feature", "valid_share", "flow_share", "weight"):
            torch.testing.assert_close(getattr(terms, term)[:, index], getattr(alone, term))


def test_depths_that_disagree_weigh_less_by_their_relative_difference():
    terms = small_terms(planes(2, 4), motion())
    assert terms.depth.tolist() == pytest.approx([1 / 3, 1 / 3])
    assert terms.weight[..., 1:-1, 1:-1].unique().tolist() == pytest.approx([2 / 3])


def test_a_flow_that_does_not_lead_back_leaves_the_pixel_out():
    # Sideways by 1: 8 px at depth 2, but 4 px back where the other frame says 4.
    terms = small_terms(planes(2, 4), motion(translation=(1, 0, 0)))
    assert terms.flow_share.tolist() == [0, 0]
    assert terms.depth.tolist() == [0, 0]
    tolerant = BidirectionalConfig(flow_tolerance_px2=16)
    pair = frame_pair(noise(2, 1, 3, HEIGHT, WIDTH), motion(translation=(1, 0, 0)), small_intrinsics())
    accepted = bidirectional_terms(planes(2, 4), None, pair, tolerant)
    assert accepted.flow_share.tolist() == [1, 1]
    assert accepted.depth.tolist() == pytest.approx([1 / 3, 1 / 3])


def test_pixels_that_leave_the_image_are_not_valid():
    terms = small_terms(planes(2, 2), motion(translation=(1.01, 0, 0)))
    gone = math.ceil(8.08)
    assert terms.valid_share.tolist() == pytest.approx([1 - gone / WIDTH] * 2)
    assert not terms.weight[0, ..., WIDTH - gone :].any()
    assert not terms.weight[1, ..., :gone].any()


def test_a_point_nearer_than_the_nearest_depth_is_not_seen():
    both, transform = planes(0.0015, 0.0015), motion(translation=(0, 0, -0.001))
    assert small_terms(both, transform).valid_share[0] == 0
    pair = frame_pair(noise(2, 1, 3, HEIGHT, WIDTH), transform, small_intrinsics())
    assert bidirectional_terms(both, None, pair, BidirectionalConfig(nearest_depth=1e-4)).valid_share[0] > 0.05


@pytest.mark.parametrize("size", [(12, 20), (6, 10), (3, 5), (4, 8)])
def test_features_of_any_resolution_are_compared_at_the_same_places(size: tuple[int, int]):
    """Features that hold their own column, in pixels of the image, differ by the flow of a wall: 4 px."""
    step = WIDTH / size[1]
    columns = (pixel_grid(*size, torch.device("cpu"), torch.float64)[0] + 0.5) * step - 0.5
    maps = columns.expand(2, 1, 1, *size)
    terms = small_terms(planes(2, 2), motion(translation=(0.4999, 0, 0)), maps=maps)
    assert terms.feature.tolist() == pytest.approx([3.9992, 3.9992])


def test_half_size_features_of_equal_frames_do_not_differ():
    maps = noise(1, 4, HEIGHT // 2, WIDTH // 2).expand(2, -1, -1, -1, -1)
    terms = small_terms(planes(2, 2), motion(), maps=maps)
    assert terms.feature.abs().max() < 1e-9


def test_a_coarse_feature_counts_only_where_all_its_pixels_do():
    maps = torch.zeros(2, 1, 1, HEIGHT // 2, WIDTH // 2, dtype=torch.float64)
    maps[0, ..., WIDTH // 2 - 5] = 1000  # Its right pixel, column 11, leaves the image.
    terms = small_terms(planes(2, 2), motion(translation=(1.01, 0, 0)), maps=maps)
    assert terms.feature[0] == 0


def test_without_features_the_feature_term_is_zero():
    assert small_terms(planes(2, 2), motion()).feature.tolist() == [0, 0]


@pytest.mark.parametrize("mixed", [torch.bfloat16, torch.float16])
def test_everything_stays_in_float32_under_autocast(mixed: torch.dtype):
    both, maps = depths(torch.float32), features(torch.float32).to(mixed)
    exact = bidirectional_terms(both, maps.float(), reference_pair(torch.float32))
    with torch.autocast("cpu", dtype=mixed):
        found = bidirectional_terms(both, maps, reference_pair(torch.float32))
    for term in ("photometric", "depth", "feature", "weight"):
        assert torch.equal(getattr(found, term), getattr(exact, term))


# --- gradients -------------------------------------------------------------------------------------------------


class Graph:
    """The reference inputs with gradients, and the terms made from them."""

    def __init__(self, detach_target_features: bool = False, feature_step: int = 1) -> None:
        config = BidirectionalConfig(detach_target_features=detach_target_features)
        self.depths = [depth.clone().requires_grad_() for depth in depths()]
        self.features = [each[..., ::feature_step, ::feature_step].clone().requires_grad_() for each in features()]
        self.transform = hashed_transform().requires_grad_()
        self.pair = frame_pair(images(), self.transform, hashed_intrinsics())
        self.terms = bidirectional_terms(torch.stack(self.depths), torch.stack(self.features), self.pair, config)

    def reached(self, value: Tensor) -> dict[str, bool]:
        """Which inputs have a gradient other than zero."""
        named = {"depth a": self.depths[0], "depth b": self.depths[1], "pose": self.transform}
        named |= {"feature a": self.features[0], "feature b": self.features[1]}
        gradients = torch.autograd.grad(value, list(named.values()), allow_unused=True, retain_graph=True)
        return {name: bool(x is not None and x.any()) for name, x in zip(named, gradients, strict=True)}


def only(*names: str) -> dict[str, bool]:
    return {name: name in names for name in ("depth a", "depth b", "pose", "feature a", "feature b")}


def test_the_photometric_term_trains_the_target_s_depth_and_the_pose():
    graph = Graph()
    assert graph.reached(graph.terms.photometric[0]) == only("depth a", "pose")
    assert graph.reached(graph.terms.photometric[1]) == only("depth b", "pose")


def test_the_depth_term_trains_both_depths_and_the_pose():
    graph = Graph()
    for direction in (0, 1):
        assert graph.reached(graph.terms.depth[direction]) == only("depth a", "depth b", "pose")


@pytest.mark.parametrize("feature_step", [1, 2])
def test_the_feature_term_trains_both_features_and_moves_the_target_s_pixels(feature_step: int):
    graph = Graph(feature_step=feature_step)
    assert graph.reached(graph.terms.feature[0]) == only("depth a", "pose", "feature a", "feature b")


def test_the_target_s_features_can_be_constants():
    graph = Graph(detach_target_features=True)
    assert graph.reached(graph.terms.feature[0]) == only("depth a", "pose", "feature b")
    assert graph.reached(graph.terms.feature[1]) == only("depth b", "pose", "feature a")


def test_masks_and_weights_carry_no_gradient():
    graph = Graph()
    found = correspondence(torch.stack(graph.depths), graph.pair.rays)
    for constant in (found.weight, found.flow_error_px2, graph.terms.weight, graph.terms.valid_share):
        assert not constant.requires_grad
    assert found.depth_difference.requires_grad


def test_the_gradient_is_that_of_a_loss_with_fixed_weights():
    graph = Graph()
    (found,) = torch.autograd.grad(graph.terms.photometric[0], graph.depths[0])
    depth = depths().requires_grad_()
    pair = reference_pair()
    place = correspondence(depth, pair.rays)
    weight = place.weight[0].detach()
    warped = sample(pair.sources, place.grid, align_corners=False)
    error = photometric_error(warped[0], patch_moments(images()[0]))
    (expected,) = torch.autograd.grad((weight * error).sum() / weight.sum(), depth)
    torch.testing.assert_close(found, expected[0])


def test_the_gradient_of_the_depth_term_is_its_slope():
    def term(scale: float) -> Tensor:
        both = torch.stack([scale * hashed_depth(3), hashed_depth(4)])
        return bidirectional_terms(both, None, reference_pair()).depth.sum()

    graph = Graph()
    (gradient,) = torch.autograd.grad(graph.terms.depth.sum(), graph.depths[0])
    slope = (term(1 + 1e-7) - term(1 - 1e-7)) / 2e-7
    assert (gradient * graph.depths[0]).sum().item() == pytest.approx(slope.item(), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("feature_size", [(HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2)])
@pytest.mark.parametrize(
    "transform",
    [
        motion(axis_angle=(0, math.pi, 0)),
        motion(axis_angle=(0, math.pi / 2, 0)),
        motion(translation=(0, 0, -2)),
        motion(translation=(0.1, 0, -1.9995)),
        motion(translation=(1000, 0, 0)),
    ],
    ids=["behind", "beside", "in the camera", "nearer than the nearest", "far outside"],
)
def test_a_camera_that_sees_nothing_gives_finite_zeros(transform, feature_size, dtype):
    inputs = [planes(2, 2).to(dtype).clone(), noise(2, 1, 4, *feature_size).to(dtype), transform.to(dtype)]
    inputs = [value.clone().requires_grad_() for value in inputs]
    pictures = noise(2, 1, 3, HEIGHT, WIDTH).to(dtype)
    pair = frame_pair(pictures, inputs[2], small_intrinsics().to(dtype))
    terms = bidirectional_terms(inputs[0], inputs[1], pair)
    total = bidirectional_loss(terms, torch.zeros((), dtype=dtype))
    gradients = torch.autograd.grad(total, inputs)
    if not terms.valid_share.any():
        assert total.item() == 0
        assert not any(gradient.any() for gradient in gradients)
    assert terms.valid_share[0] == 0
    assert all(torch.isfinite(value).all() for value in (total, *gradients))
