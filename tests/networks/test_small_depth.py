import dataclasses
import functools
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from egodepth.errors import UserError
from egodepth.networks.complexity import ShapesAlone, complexity
from egodepth.networks.configurations import SmallDepthConfig
from egodepth.networks.disparity import start_far
from egodepth.networks.drop import SampleDrop, set_drop_rates
from egodepth.networks.small_depth import SmallDepth

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "small_depth.json").read_text())
SIZES = [(96, 160), (128, 416), (192, 640), (320, 1024)]


@functools.cache
def without_storage() -> SmallDepth:
    """On the meta device: layers and shapes without values, which is all that counting needs. In training mode."""
    with torch.device("meta"):
        return SmallDepthConfig().build()


def blank(height: int, width: int) -> Tensor:
    return torch.empty(1, 3, height, width, device="meta")


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def network() -> SmallDepth:
    """In evaluation mode, with batch statistics and disparities that vary from place to place."""
    torch.manual_seed(0)
    network = SmallDepthConfig().build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.2, 1)
    return network.eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


# --- counts ----------------------------------------------------------------------------------------------------


def test_each_layer_has_the_parameters_of_the_table() -> None:
    network, expected = without_storage(), REFERENCE["layer_parameters"]
    assert parameters(network.encoder.stem) == expected["stem"]
    assert [[parameters(block) for block in stage] for stage in network.encoder.stages] == expected["stages"]
    assert [parameters(up) for up in network.decoder.ups] == expected["ups"]
    assert [parameters(head) for head in network.decoder.heads] == expected["heads"]


def test_the_totals_are_the_published_ones() -> None:
    network = without_storage()
    totals = {"encoder": network.encoder, "decoder": network.decoder, "total": network}
    assert {name: parameters(part) for name, part in totals.items()} == REFERENCE["parameters"]


@pytest.mark.parametrize(("size", "gmacs"), REFERENCE["gmacs"].items())
def test_the_work_of_the_printed_equations_is_the_published_number_of_macs(size: str, gmacs: float) -> None:
    with ShapesAlone(), FlopCounterMode(display=False) as counter, torch.no_grad():
        without_storage()(blank(*map(int, size.split("x"))))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=5e-4)


def test_inference_spares_the_coarse_heads_and_three_quarters_of_the_mixing() -> None:
    network = without_storage()
    with ShapesAlone(), FlopCounterMode(display=False) as counter, torch.no_grad():
        network(blank(128, 416))
    widths = SmallDepthConfig().widths[:-1]
    pixels = [(128 >> level) * (416 >> level) for level in range(1, 5)]
    coarse_heads = sum(2 * 9 * width * area for width, area in list(zip(widths, pixels, strict=True))[1:])
    mixing = sum(width**2 * area for width, area in zip(widths, pixels, strict=True))
    spared = coarse_heads + mixing * 3 // 4
    moving = 18 * 5 * 5 * pixels[0]  # each tap of the finest head to its place, which costs engines next to nothing
    enlarging = 4 * 3 * 3 * pixels[0]
    assert counter.get_total_flops() // 2 - complexity(network, 128, 416).macs == spared - moving - enlarging


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_disparities_start_at_half_the_size_and_inference_gives_the_whole(height: int, width: int) -> None:
    network = without_storage()
    disparities, features = network.with_features(blank(height, width))
    sizes = [(height >> level, width >> level) for level in range(1, 6)]
    assert [disparity.shape for disparity in disparities] == [(1, 1, *size) for size in sizes[:4]]
    widths = SmallDepthConfig().widths
    expected = [(1, channels, *size) for channels, size in zip(widths, sizes, strict=True)]
    assert [feature.shape for feature in features.encoder] == expected
    assert [feature.shape for feature in features.decoder] == expected  # the last is where the decoder starts
    assert network.finest(blank(height, width)).shape == (1, 1, height, width)
    assert network.predict_depth(blank(height, width)).shape == (1, 1, height, width)


# --- values ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_inference_enlarges_the_finest_disparity(network: SmallDepth, image: Tensor) -> None:
    disparities = network(image)
    enlarged = F.interpolate(disparities[0], size=image.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(network.finest(image), enlarged)
    assert all(disparity.std() > 1e-4 for disparity in disparities)


@torch.no_grad()
def test_a_disparity_is_the_mean_of_two_sigmoids(network: SmallDepth) -> None:
    head, state = network.decoder.heads[0], torch.randn(1, 64, 6, 8)
    dense = F.conv2d(state, head.near.weight, head.near.bias, padding=1)
    sparse = F.conv2d(state, head.sparse.weight, head.sparse.bias, padding=2, dilation=2)
    torch.testing.assert_close(head(state), (dense.sigmoid() + sparse.sigmoid()) / 2)


@torch.no_grad()
def test_the_far_start_is_far_away() -> None:
    torch.manual_seed(0)
    network = SmallDepthConfig().build().eval()
    start_far(network)
    depth = network.predict_depth(torch.rand(1, 3, 64, 96))
    assert 1 < depth.median() < 4


@torch.no_grad()
def test_inference_leaves_out_the_coarse_heads(network: SmallDepth, image: Tensor) -> None:
    used = []
    hooks = [
        head.register_forward_hook(lambda *_, scale=scale: used.append(scale))
        for scale, head in enumerate(network.decoder.heads)
    ]
    network.predict_depth(image)
    for hook in hooks:
        hook.remove()
    assert used == [0]


@torch.no_grad()
def test_inference_mixes_channels_earlier_and_gives_the_same(network: SmallDepth) -> None:
    up, coarse = network.decoder.ups[1], torch.randn(2, 128, 5, 7)
    enlarged = F.interpolate(up.smooth(up.reduce(coarse)), scale_factor=2, mode="bilinear")
    printed = F.elu(up.refine(F.elu(up.mix(enlarged))))
    torch.testing.assert_close(up(coarse), printed)


@torch.no_grad()
def test_blocks_compute_their_equations(network: SmallDepth) -> None:
    down, residual = network.encoder.stages[3][:2]
    features = torch.randn(2, 256, 8, 12)
    halved = down(features)
    context = torch.cat([filtered(features) for filtered in down.context], dim=1)
    torch.testing.assert_close(halved, F.silu(context + down.channel(features)))
    before = halved.clone()
    middle = residual.expand(halved)
    branches = F.silu(residual.near[0](middle)) + F.silu(residual.sparse[0](middle)) + middle
    torch.testing.assert_close(residual(halved), F.silu(residual.contract(branches) + halved))
    assert torch.equal(halved, before)


# --- training --------------------------------------------------------------------------------------------------


def test_gradients_reach_every_parameter(image: Tensor) -> None:
    torch.manual_seed(0)
    network = SmallDepthConfig().build().train()
    sum((disparity * torch.rand_like(disparity)).sum() for disparity in network(image)).backward()
    assert [name for name, parameter in network.named_parameters() if not parameter.grad.any()] == []


def test_gradients_are_those_of_sums_that_overwrite_nothing() -> None:
    torch.manual_seed(0)
    network = SmallDepthConfig(widths=(2, 4, 4, 4, 4), middles=(4, 4, 4, 4), repeats=(1, 1, 1, 1)).build().double()
    residual = network.encoder.stages[0][1]
    features = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: residual(values * 1), (features,))
    up = network.decoder.ups[0]
    assert torch.autograd.gradcheck(lambda values: up(values * 1), (features,))


@torch.no_grad()
def test_drop_rates_change_training_and_never_evaluation(network: SmallDepth, image: Tensor) -> None:
    expected = network(image)
    set_drop_rates(network, 66, 100)
    rates = {module.rate for module in network.modules() if isinstance(module, SampleDrop)}
    assert rates == {0.9, 0.5}
    for before, after in zip(expected, network(image), strict=True):
        assert torch.equal(before, after)
    block = network.encoder.stages[0][1]
    features = torch.rand(8, 64, 4, 4)
    near = block.near[2].train()
    dropped = near(features)
    near.eval()
    assert {value.item() for value in (dropped / features).amax((1, 2, 3)).round()} <= {0.0, 10.0}


# --- configuration and weights ---------------------------------------------------------------------------------


def test_a_config_from_json_builds_the_same_layers() -> None:
    stored = json.loads(json.dumps(dataclasses.asdict(SmallDepthConfig())))
    with torch.device("meta"):
        rebuilt = SmallDepthConfig(**stored).build()
    shapes = {key: tensor.shape for key, tensor in without_storage().state_dict().items()}
    assert {key: tensor.shape for key, tensor in rebuilt.state_dict().items()} == shapes


def test_a_rate_of_one_is_refused_when_the_network_is_built() -> None:
    with pytest.raises(UserError, match=r"drop rate: 1\.0"):
        SmallDepthConfig(pb_dsr=1.0).build()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_encoder_starts_from_a_file(network: SmallDepth, suffix: str, tmp_path: Path) -> None:
    state = network.encoder.state_dict()
    file = tmp_path / f"encoder{suffix}"
    torch.save(state, file) if suffix == ".pth" else save_file(state, file)
    encoder = SmallDepthConfig().build().encoder
    encoder.load_pretrained(str(file))
    loaded = encoder.state_dict()
    assert [key for key, tensor in state.items() if not torch.equal(loaded[key], tensor)] == []


def test_no_weights_and_weights_that_do_not_exist() -> None:
    encoder = SmallDepthConfig(middles=(8, 8, 8, 8)).build().encoder
    before = encoder.stem[0][0].weight.clone()
    encoder.load_pretrained("none")
    assert torch.equal(encoder.stem[0][0].weight, before)
    with pytest.raises(UserError, match=r"no ImageNet weights of SmallDepth.*--pretrained none"):
        encoder.load_pretrained("imagenet")


def test_weights_of_other_widths_are_refused_with_the_tensor_named(network: SmallDepth, tmp_path: Path) -> None:
    torch.save(network.encoder.state_dict(), tmp_path / "encoder.pth")
    encoder = SmallDepthConfig(middles=(64, 128, 256, 768)).build().encoder
    with pytest.raises(UserError, match=r"stages\.3\.1\.expand.*--pretrained PATH"):
        encoder.load_pretrained(str(tmp_path / "encoder.pth"))
