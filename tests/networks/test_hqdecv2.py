import functools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from egodepth.errors import UserError
from egodepth.geometry.depth import sigmoid_to_depth
from egodepth.networks.complexity import complexity
from egodepth.networks.configurations import HQDecv2Config
from egodepth.networks.disparity import INITIAL_DEPTH, EncoderDecoder, start_far
from egodepth.networks.hqdec_blocks import AdaAxialNPCAS, AdaCoeff, AxialSampler, ChannelInteraction, GlobalFilter
from egodepth.networks.hqdecv2 import AdaIE, AdaRMv2, AttDispV2, DAdaNRSUv2
from egodepth.recipes import RECIPES
from egodepth.recipes.restoring import restored_network
from egodepth.reproduction.published import published_rows, row_recipe
from tests.command_line import run

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "hqdecv2.json").read_text())
SIZES = [(32, 64), (64, 96), (96, 320), (128, 416), (160, 480), (320, 64)]


@functools.cache
def without_storage(height: int = 128, width: int = 416, depthwise: bool = True) -> EncoderDecoder:
    """On the meta device: layers and shapes without values, which is all that counting needs."""
    with torch.device("meta"):
        return HQDecv2Config(depthwise_local=depthwise).at_size(height, width).build()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def wake_coefficients(module: nn.Module) -> None:
    """Move every AdaCoeff off its zero start, as the first step of training does."""
    for part in module.modules():
        if isinstance(part, AdaCoeff):
            nn.init.normal_(part.layers[-1].weight, std=0.3)


@pytest.fixture(scope="module")
def network() -> EncoderDecoder:
    torch.manual_seed(0)
    network = HQDecv2Config().at_size(128, 416).build().eval()
    start_far(network)
    return network


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


# --- counts ----------------------------------------------------------------------------------------------------


def test_parameters_are_those_of_the_paper() -> None:
    network, expected = without_storage(), REFERENCE["parameters"]
    assert parameters(network.encoder) == expected["encoder"]
    assert parameters(network.decoder) == pytest.approx(expected["decoder"], rel=0.02)
    assert parameters(network) == pytest.approx(expected["total"], rel=0.01)
    assert list(network.encoder.channels) == REFERENCE["encoder_channels"]


@pytest.mark.parametrize("filters", ["depthwise", "dense"])
def test_the_work_is_that_of_the_paper_with_either_local_filter(filters: str) -> None:
    cost, expected = complexity(without_storage(depthwise=filters == "depthwise"), 128, 416), REFERENCE["local filters"]
    assert cost.parameters == pytest.approx(expected[filters]["parameters"], abs=500)
    # In use the coarse heads are left out, which are 0.4 % of the work.
    assert cost.macs == pytest.approx(expected[filters]["macs"], rel=0.005)
    assert cost.macs == pytest.approx(REFERENCE["paper"]["macs"], rel=0.03)
    assert cost.parameters == pytest.approx(REFERENCE["paper"]["parameters"], rel=0.003)


def test_a_depthwise_local_filter_spares_what_the_other_channels_would_cost() -> None:
    dense, depthwise = (without_storage(depthwise=each) for each in (False, True))
    squeezed = [part.squeeze[0][0].out_channels for part in dense.modules() if isinstance(part, AdaRMv2)]
    assert len(squeezed) == 15
    spared = sum(9 * (channels**2 - channels) for channels in squeezed)
    assert parameters(dense) - parameters(depthwise) == spared


def test_the_work_is_spread_over_the_modules_as_specified() -> None:
    network = HQDecv2Config(depthwise_local=False).at_size(128, 416).build()  # which the specification's figures are of
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.rand(1, 3, 128, 416))
    of_module = {name: sum(counts.values()) // 2 for name, counts in counter.get_flop_counts().items()}

    def macs(kind: type[nn.Module], part: str = "") -> int:
        return sum(
            of_module[f"EncoderDecoder.{name}"]
            for name, module in network.named_modules()
            if isinstance(module, kind) and part in name
        )

    fused = macs(AdaRMv2, "refinement")
    exchange = sum(of_module[f"EncoderDecoder.decoder.stages.{stage}.exchange.coefficients"] for stage in range(4))
    counted = {
        "lateral_refinement": macs(AdaRMv2) - fused,
        "samplers": macs(AdaAxialNPCAS),
        "upsampling": macs(DAdaNRSUv2),
        "heads": macs(AttDispV2),
        "fused_refinement": fused,
        "exchange": exchange,
    }
    decoder = of_module["EncoderDecoder"] - of_module["EncoderDecoder.encoder"]
    counted["channel_maps"] = decoder - sum(counted.values())
    assert counted == {name: pytest.approx(REFERENCE["macs_128x416"][name], rel=0.1) for name in counted}


# --- shapes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_multiple_of_32_gives_disparities_of_three_sizes(height: int, width: int, network: EncoderDecoder) -> None:
    with torch.no_grad():
        disparities = network(torch.rand(1, 3, height, width))
    assert [disparity.shape for disparity in disparities] == [
        (1, 1, height >> scale, width >> scale) for scale in range(3)
    ]
    assert all(disparity.isfinite().all() for disparity in disparities)


def test_the_features_are_those_of_the_encoder_and_those_that_the_heads_read(
    network: EncoderDecoder, image: Tensor
) -> None:
    with torch.no_grad():
        disparities, features = network.with_features(image)
    assert [feature.shape for feature in features.encoder] == [
        (2, channels, 64 >> stride, 96 >> stride) for stride, channels in enumerate(REFERENCE["encoder_channels"], 1)
    ]
    assert [feature.shape for feature in features.decoder] == [
        (2, channels, 64 >> scale, 96 >> scale) for scale, channels in enumerate((24, 24, 48, 64, 160, 160))
    ]
    for head, feature, disparity in zip(network.decoder.heads, features.decoder, disparities, strict=False):
        assert torch.equal(torch.sigmoid(head(feature)), disparity)


@pytest.mark.parametrize("size", REFERENCE["grids"])
def test_samplers_lead_to_the_specified_grids_of_tokens(size: str) -> None:
    height, width = map(int, size.split("x"))
    with torch.device("meta"):
        global_filter = GlobalFilter(12, (height, width), 24, 2, 1)
        maps = global_filter.sampled(torch.empty(1, 12, height, width))
    assert [list(sampled.shape[2:]) for sampled in maps[1:]] == REFERENCE["grids"][size]
    assert global_filter.position.shape[2:] == maps[-1].shape[2:]


def test_the_network_has_a_token_grid_for_each_stage_and_head() -> None:
    decoder, grids = without_storage().decoder, REFERENCE["grids"]
    inputs = [(head.globally[0], f"{128 >> scale}x{416 >> scale}") for scale, head in enumerate(decoder.heads)]
    inputs += [(decoder.coarsest[1].globally, "4x13")]
    for stage, module in enumerate(decoder.stages):
        size = f"{64 >> stage}x{208 >> stage}"
        refinements = [module.refinement[1], *(lateral[-1] for lateral in module.exchange.laterals)]
        inputs += [(module.upsampling.globally, size), *((part.globally[0], size) for part in refinements)]
    assert len(inputs) == 3 + 1 + 4 + 4 + 10
    for global_filter, size in inputs:
        assert list(global_filter.position.shape[2:]) == grids[size][-1]


def strides_of_equation_26(size: tuple[int, int]) -> list[int]:
    strides = []
    for _ in range(3):
        shorter = min(size)
        strides.append(4 if shorter > 16 else 2 if shorter > 3 else 1)
        size = tuple(-(-length // strides[-1]) for length in size)
    return strides


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [
        ((128, 416), 4, [4, 2, 2]),
        ((128, 416), 8, [2, 2, 2]),
        ((192, 640), 2, [4, 4, 2]),
        ((192, 640), 8, [4, 2, 1]),
    ],
)
def test_the_formula_of_the_strides_gives_the_papers(size: tuple, stride: int, expected: list[int]) -> None:
    assert strides_of_equation_26(tuple(length // stride for length in size)) == expected


PUBLISHED = [row for row in published_rows().values() if isinstance(RECIPES[row.recipe].network, HQDecv2Config)]
SIZES_OF_ROWS = {tuple(map(int, reversed(row.size.split("x")))) for row in PUBLISHED}


def test_every_published_row_of_this_network_is_built_for_its_own_size() -> None:
    assert {(128, 416), (192, 640), (384, 640)} == SIZES_OF_ROWS
    for row in PUBLISHED:
        network = row_recipe(row).sized_network
        assert f"{network.width}x{network.height}" == row.size


@pytest.mark.parametrize("size", sorted({*SIZES_OF_ROWS, (96, 320), (320, 1024)}))
def test_the_strides_are_those_of_equation_26_at_the_recipes_size(size: tuple[int, int]) -> None:
    recipe = replace(RECIPES["hqdecv2"], height=size[0], width=size[1])
    with torch.device("meta"):
        decoder = recipe.sized_network.build().decoder
    inputs = [(head.globally[0], 2**scale) for scale, head in enumerate(decoder.heads)]
    inputs += [(decoder.coarsest[0][-1].globally[0], 32), (decoder.coarsest[1].globally, 32)]
    for stage, module in enumerate(decoder.stages):
        refinements = [module.refinement[1], *(lateral[-1] for lateral in module.exchange.laterals)]
        inputs += [(each, 2 << stage) for each in (module.upsampling.globally, *(r.globally[0] for r in refinements))]
    for global_filter, stride in inputs:
        strides = [sampler[0].stride[0] for sampler in global_filter.samplers]
        assert strides == strides_of_equation_26(tuple(length // stride for length in size))


def test_a_model_of_before_is_built_for_the_size_that_it_says_and_as_it_was() -> None:
    before = {"kind": "HQDecv2Config", "encoder": "tf_efficientnetv2_s.in1k", "height": 128, "width": 416}
    config = restored_network(before).at_size(192, 640)
    assert (config.height, config.width, config.depthwise_local, config.attended_heads) == (128, 416, False, False)


def test_a_network_without_a_size_is_not_built() -> None:
    with pytest.raises(UserError, match="size of its images"):
        HQDecv2Config().build()


@pytest.mark.parametrize("option", ["--network.height", "--network.attended-heads"])
def test_what_follows_from_the_recipe_is_no_option(option: str, capsys: pytest.CaptureFixture) -> None:
    assert run("train", "hqdecv2", "DATA", "--out", "RUN", option, "192") == 2
    assert "there is no such option" in capsys.readouterr().err


def test_another_nominal_size_has_another_token_grid() -> None:
    finest = without_storage(320, 1024).decoder.heads[0].globally[0]
    assert finest.position.shape[2:] == (5, 16)  # three steps of 4: 320, 80, 20, 5


@pytest.mark.parametrize(("height", "width"), [(100, 416), (128, 0), (-32, 416)])
def test_a_nominal_size_off_the_grid_of_32_is_refused(height: int, width: int) -> None:
    with pytest.raises(UserError, match="multiples of 32"):
        HQDecv2Config(height=height, width=width).build()


# --- modules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 5])
def test_coefficients_start_equal_and_always_sum_to_one(count: int) -> None:
    torch.manual_seed(0)
    adaptive, branches = AdaCoeff(count), torch.randn(count, 2, 4, 6, 8).unbind()
    assert torch.equal(adaptive.coefficients(*branches), torch.full((2, count, 6, 8), 1 / count))
    torch.testing.assert_close(adaptive(*branches), sum(branches) / count)
    wake_coefficients(adaptive)
    weights = adaptive.coefficients(*branches)
    assert weights.std(dim=(2, 3)).min() > 0.01
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 6, 8))
    expected = sum(weights[:, [place]] * branch for place, branch in enumerate(branches))
    torch.testing.assert_close(adaptive(*branches), expected)


def test_every_token_sees_every_other() -> None:
    torch.manual_seed(0)
    global_filter = GlobalFilter(8, (32, 104), 16, 4, 1)
    tokens = torch.randn(1, 16, 2, 7, requires_grad=True)
    global_filter.attend(tokens)[0, :, 0, 0].square().sum().backward()
    assert (tokens.grad.abs().amax(dim=1) > 0).all()


@torch.no_grad()
def test_the_position_embedding_is_interpolated_to_another_grid() -> None:
    torch.manual_seed(0)
    nominal, larger = (GlobalFilter(8, size, 16, 4, 1).eval() for size in ((128, 416), (160, 480)))
    nn.init.normal_(nominal.position)
    position = F.interpolate(nominal.position, (5, 15), mode="bilinear", align_corners=False)
    larger.load_state_dict(nominal.state_dict() | {"position": position})
    features = torch.randn(1, 8, 160, 480)
    assert torch.equal(nominal(features), larger(features))
    nn.init.zeros_(larger.position)
    assert not torch.allclose(nominal(features), larger(features), atol=1e-3)


@torch.no_grad()
def test_the_axial_sampler_stacks_neighbouring_rows_and_marks_each() -> None:
    sampler, features = AxialSampler(8, 4), torch.randn(2, 8, 12, 5)
    sampler.layers = nn.Identity()
    sampler.position.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None])
    stacked = sampler(features).unflatten(1, (8, 4))
    for row in range(4):
        assert torch.equal(stacked[:, :, row], features[:, :, row::4] + sampler.position[row])


@torch.no_grad()
def test_the_sampler_joins_both_axes_with_maximum_pooling() -> None:
    torch.manual_seed(0)
    sampler, features = AdaAxialNPCAS(8, 4).eval(), torch.randn(2, 8, 16, 32)
    axes = sampler.width(sampler.height(features).mT).mT
    assert axes.shape == (2, 8, 4, 8)
    torch.testing.assert_close(sampler(features), F.elu((axes + F.max_pool2d(features, 4)) / 2))


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 3)])
def test_channel_interaction_takes_maps_of_any_size(shape: tuple[int, int]) -> None:
    assert ChannelInteraction(64)(torch.randn(1, 64, *shape)).isfinite().all()


@torch.no_grad()
def test_the_exchange_starts_as_the_mean_of_all_stages() -> None:
    torch.manual_seed(0)
    exchange = AdaIE((24, 48, 64), 2, (64, 96)).eval()
    features = [torch.randn(1, channels, 32 >> stage, 48 >> stage) for stage, channels in enumerate((24, 48, 64))]
    coarser = torch.randn(1, 64, 8, 12)
    laterals = [lateral(feature) for lateral, feature in zip(exchange.laterals, features, strict=True)]
    torch.testing.assert_close(exchange(features, coarser), (sum(laterals) + coarser) / 4)


@torch.no_grad()
def test_upsampling_starts_as_the_mean_of_shuffled_and_bilinear() -> None:
    torch.manual_seed(0)
    upsampling, features = DAdaNRSUv2(48, 2, (64, 96)).eval(), torch.randn(1, 48, 8, 12)
    shuffled = 2 * upsampling(features) - F.interpolate(features, scale_factor=2, mode="bilinear")
    context = (upsampling.near(features), upsampling.wide(features), upsampling.globally(features), features)
    expected = F.pixel_shuffle(upsampling.interaction(torch.cat(context, dim=1)), 2)
    torch.testing.assert_close(shuffled, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_head_multiplies_its_local_logits_by_a_factor_below_one() -> None:
    torch.manual_seed(0)
    head, features = AttDispV2(24, (32, 48), 12, 2).eval(), torch.randn(1, 24, 32, 48)
    nn.init.normal_(head.globally[-1].weight)
    nn.init.constant_(head.attention.conv.weight, 2.0)
    attended = head.attention(features)
    factor = head(features) / head.local(attended)
    torch.testing.assert_close(factor, torch.sigmoid(head.globally(attended)))
    assert factor.std() > 0.1
    head.attended = False  # as in models of before
    torch.testing.assert_close(head(features), head.local(attended) * torch.sigmoid(head.globally(features)))


# --- the whole -------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 5])
def test_an_untrained_network_that_starts_far_sees_everything_far(seed: int) -> None:
    torch.manual_seed(seed)
    network = HQDecv2Config().at_size(128, 416).build().train()
    start_far(network)
    for disparity in network(torch.rand(1, 3, 128, 416)):
        depth = sigmoid_to_depth(disparity, network.min_depth, network.max_depth)
        assert depth.median().item() == pytest.approx(INITIAL_DEPTH, rel=0.25)
        assert depth.min() > INITIAL_DEPTH / 2


@torch.no_grad()
def test_inference_leaves_out_the_coarse_heads(network: EncoderDecoder, image: Tensor) -> None:
    complete, used = network(image)[0], []
    hooks = [
        head.register_forward_hook(lambda *_, scale=scale: used.append(scale))
        for scale, head in enumerate(network.decoder.heads)
    ]
    finest = network.finest(image)
    for hook in hooks:
        hook.remove()
    assert used == [0]
    assert torch.equal(finest, complete)


@torch.no_grad()
def test_inference_gives_the_same_depth_again_and_alone(network: EncoderDecoder, image: Tensor) -> None:
    depth = network.predict_depth(image)
    assert depth.shape == (2, 1, 64, 96)
    assert torch.equal(network.predict_depth(image), depth)
    torch.testing.assert_close(network.predict_depth(image[1:]), depth[1:], atol=1e-4, rtol=1e-4)
    assert (depth[0] - depth[1]).abs().max() > 1e-3


def test_gradients_reach_every_parameter(image: Tensor) -> None:
    torch.manual_seed(0)
    network = HQDecv2Config().at_size(128, 416).build().train()
    wake_coefficients(network)
    sum((disparity * torch.rand_like(disparity)).sum() for disparity in network(image)).backward()
    assert [name for name, parameter in network.named_parameters() if not parameter.grad.any()] == []
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
