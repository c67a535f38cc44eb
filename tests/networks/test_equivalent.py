"""FA-Depth's equivalent transformation: reference numbers, the exact merge, drops, and whole networks."""

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import egodepth
from egodepth.errors import UserError
from egodepth.networks.blocks import ReflectConv
from egodepth.networks.configurations import EquivalentConfig, Monodepth2Config
from egodepth.networks.equivalent import EPSILON, EquivalentConv2d, branch_shapes, equivalent, merge
from tests.hashed_inputs import hashed_uniform

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "equivalent.json").read_text())
NO_DROPS = EquivalentConfig(branch_drop=0)

CONVOLUTIONS = {
    "dense 1x1": lambda: nn.Conv2d(4, 4, 1),
    "dense 3x3": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "dense 5x5 to more channels": lambda: nn.Conv2d(4, 6, 5, padding=2),
    "dense 7x7 strided": lambda: nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False),
    "1x3": lambda: nn.Conv2d(4, 4, (1, 3), padding=(0, 1)),
    "5x3 strided along one axis": lambda: nn.Conv2d(4, 4, (5, 3), stride=(2, 1), padding=(2, 1)),
    "grouped": lambda: nn.Conv2d(8, 8, 3, padding=1, groups=2),
    "grouped to more channels": lambda: nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=4),
    "depthwise": lambda: nn.Conv2d(6, 6, 5, padding=2, groups=6),
    "depthwise dilated": lambda: nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6),
    "reflected border": lambda: ReflectConv(4, 4),
    "timm's padding by the input's size": lambda: Conv2dSame(4, 4, 3, stride=2),
}


def seeded_images(batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def grown(conv: nn.Conv2d, config: EquivalentConfig = NO_DROPS) -> EquivalentConv2d:
    """With branches of different weight and a variance other than 1, as after training."""
    torch.manual_seed(0)
    module = EquivalentConv2d(conv, config)
    with torch.no_grad():
        module.gains.uniform_(-1, 1)
        module.running_variance.fill_(0.3)
    return module.eval()


def branch_kernels(module: EquivalentConv2d) -> list[Tensor]:
    """The kernel of each branch, before its scale, written out as the paper's table does."""
    conv = module.conv
    height, width = conv.kernel_size
    shapes = branch_shapes(height, width)
    kernels = []
    if conv.in_channels == conv.out_channels and conv.stride == (1, 1):
        identity = torch.zeros_like(conv.weight)
        for channel in range(conv.out_channels):
            identity[channel, channel % conv.weight.shape[1], height // 2, width // 2] = 1
        kernels.append(identity)
    parts = module.kernels.split([rows * columns for rows, columns in shapes], dim=2)
    for (rows, columns), part in zip(shapes, parts, strict=True):
        margins = [(width - columns) // 2] * 2 + [(height - rows) // 2] * 2
        kernels.append(F.pad(part.unflatten(2, (rows, columns)), margins))
    return [*kernels, conv.weight]


def sum_of_branch_outputs(module: EquivalentConv2d, x: Tensor) -> Tensor:
    """One convolution for each branch, added up: what the single convolution must equal (Eq. 15)."""
    scales = module.gains / (module.running_variance.sqrt() + EPSILON)
    plain = copy.deepcopy(module.conv)
    plain.bias = None
    outputs = []
    for kernel, scale in zip(branch_kernels(module), scales, strict=True):
        plain.weight = nn.Parameter(kernel)
        outputs.append(scale[:, None, None] * plain(x))
    total = torch.stack(outputs).sum(0)
    return total if module.conv.bias is None else total + module.conv.bias[:, None, None]


# --- one convolution -------------------------------------------------------------------------------------------


@pytest.fixture
def reference_module() -> EquivalentConv2d:
    shapes = [*branch_shapes(3, 3), (3, 3)]
    kernels = [0.2 * (2 * hashed_uniform((4, 4, *shape), 21 + place) - 1) for place, shape in enumerate(shapes)]
    module = EquivalentConv2d(nn.Conv2d(4, 4, 3, padding=1, bias=False).double(), NO_DROPS)
    with torch.no_grad():
        module.kernels.copy_(torch.cat([kernel.flatten(2) for kernel in kernels[:-1]], dim=2))
        module.conv.weight.copy_(kernels[-1])
        module.gains.fill_(1)
    return module


@pytest.fixture
def reference_input() -> Tensor:
    return 2 * hashed_uniform((2, 4, 9, 11), 20) - 1


def close(expected: float | list[float]) -> object:
    return pytest.approx(expected, rel=5e-6)


@pytest.mark.parametrize("seed", REFERENCE["hashed_uniform"])
def test_the_hashed_inputs_are_those_of_the_specification(seed):
    assert hashed_uniform((2, 2), int(seed)).flatten().tolist() == close(REFERENCE["hashed_uniform"][seed])


@torch.no_grad()
def test_scaling_by_the_inputs_variance_gives_the_reference_numbers(reference_module, reference_input):
    expected = REFERENCE["input_variance"]
    output = reference_module(reference_input)
    variance = reference_input.var(correction=0)
    assert 1 / (variance.sqrt().item() + EPSILON) == close(expected["scale"])
    assert output.abs().mean().item() == close(expected["mean_absolute"])
    assert reference_module.kernel(variance).sum().item() == close(expected["kernel_sum"])


@torch.no_grad()
def test_the_sum_of_branches_scaled_by_their_outputs_gives_the_reference_numbers(reference_module, reference_input):
    expected = REFERENCE["output_variance"]
    reference_module.eval()
    outputs = [F.conv2d(reference_input, kernel, padding=1) for kernel in branch_kernels(reference_module)]
    deviations = torch.stack([output.transpose(0, 1).flatten(1).std(1, correction=0) for output in outputs])
    scales = 1 / (deviations + EPSILON)
    reference_module.gains.copy_(scales * (1 + EPSILON))
    kernel = merge(reference_module).weight
    output = reference_module(reference_input)
    assert scales[:, 0].tolist() == close(expected["scales_of_channel_0"])
    assert output.mean().item() == close(expected["mean"])
    assert output.abs().mean().item() == close(expected["mean_absolute"])
    assert kernel.sum().item() == close(expected["kernel_sum"])
    assert kernel[0, 0].flatten().tolist() == close(expected["kernel_0_0"])


@pytest.mark.parametrize(
    ("size", "branches", "weights"), [(1, 3, 2), (3, 6, 25), (5, 11, 106), (7, 18, 305), ((1, 3), 4, 7)]
)
def test_a_kernel_has_the_published_branches_and_weights(size, branches, weights):
    conv = nn.Conv2d(5, 5, size, padding="same", groups=5, bias=False)
    module = EquivalentConv2d(conv, NO_DROPS)
    assert module.gains.shape == (branches, 5)
    assert module.kernels.numel() + module.conv.weight.numel() == 5 * weights


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@torch.no_grad()
def test_merging_keeps_the_function(name, dtype, tolerance):
    conv = CONVOLUTIONS[name]().to(dtype)
    module = grown(conv)
    x = torch.randn(2, conv.in_channels, 17, 20, dtype=dtype)
    expected = sum_of_branch_outputs(module, x)
    merged = merge(module)
    assert type(merged) is type(conv)
    assert merged.state_dict().keys() == CONVOLUTIONS[name]().state_dict().keys()
    for output in (module(x), merged(x)):
        assert output.shape == expected.shape
        assert (output - expected).abs().max() < tolerance * expected.abs().max()


def test_the_identity_is_absent_where_the_output_cannot_be_the_input():
    with_identity = EquivalentConv2d(nn.Conv2d(4, 4, 3), NO_DROPS)
    strided = EquivalentConv2d(nn.Conv2d(4, 4, 3, stride=2), NO_DROPS)
    widening = EquivalentConv2d(nn.Conv2d(4, 8, 3), NO_DROPS)
    assert [len(module.gains) for module in (with_identity, strided, widening)] == [6, 5, 5]


def test_a_kernel_without_centre_is_refused_and_left_alone_in_a_network():
    with pytest.raises(ValueError, match="no centre"):
        EquivalentConv2d(nn.Conv2d(4, 4, 2), NO_DROPS)
    network = equivalent(nn.Sequential(nn.Conv2d(4, 4, 2), nn.Conv2d(4, 4, 3)), NO_DROPS)
    assert [type(module) for module in network] == [nn.Conv2d, EquivalentConv2d]


# --- training --------------------------------------------------------------------------------------------------


def test_training_divides_by_the_deviation_of_the_batch_and_evaluation_by_its_running_average():
    module = grown(nn.Conv2d(4, 4, 3, bias=False).double()).train()
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    output = module(x)
    assert module.running_variance.item() == pytest.approx(0.9 * 0.3 + 0.1 * x.var(correction=0).item())
    torch.testing.assert_close(module(10 * x), output, rtol=1e-4, atol=0)
    module.eval()
    before = module.running_variance.clone()
    torch.testing.assert_close(module(10 * x), 10 * module(x))
    assert module.running_variance.equal(before)


def test_gradients_reach_every_branch_and_not_the_statistics():
    module = grown(nn.Conv2d(4, 4, 5, padding=2)).train()
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    weights = torch.randn(2, 4, 9, 9)
    (module(x) * weights).sum().backward()
    for parameter in (module.gains, module.kernels, module.conv.weight):
        assert (parameter.grad != 0).all()
    scaled = module.conv._conv_forward(x, module.kernel(x.detach().var(correction=0)).detach(), module.conv.bias)
    (expected,) = torch.autograd.grad((scaled * weights).sum(), x)
    torch.testing.assert_close(x.grad, expected)


def test_training_convolves_once():
    conv = nn.Conv2d(8, 8, 3, padding=1)
    x = torch.randn(2, 8, 16, 16)
    counts = []
    for module in (conv, EquivalentConv2d(copy.deepcopy(conv), EquivalentConfig())):
        with FlopCounterMode(display=False) as counter:
            module.train()(x)
        counts.append(counter.get_flop_counts()["Global"][torch.ops.aten.convolution])
    assert counts[0] == counts[1]


def test_whole_branches_are_dropped_at_their_rates_and_the_others_scaled_up():
    torch.manual_seed(0)
    config = EquivalentConfig(branch_drop=0.4, dropconv_share=0.5, element_share=0)
    module = EquivalentConv2d(nn.Conv2d(6, 6, 3, groups=6, bias=False), config)
    x = torch.randn(1, 6, 3, 3)
    draws = 500
    with torch.no_grad():
        # Channel c shows branch c alone: identity, 1x1, 1x3, 3x1, 3x3 with dropconv, 3x3.
        module.gains.copy_(torch.eye(6))
        module.running_variance.copy_(x.var(correction=0))
        whole = module.eval()(x).flatten()
        module.train()
        ratios = torch.stack([module(x).flatten() / whole for _ in range(draws)])
    rates = torch.tensor([0.4, 0.4, 0.4, 0.4, 0.2, 0])
    kept = ratios != 0
    torch.testing.assert_close(1 - kept.float().mean(0), rates, rtol=0, atol=4 * (0.25 / draws) ** 0.5)
    assert kept[:, -1].all()
    assert not kept[:, 0].equal(kept[:, 1])
    torch.testing.assert_close(ratios, kept / (1 - rates), rtol=1e-4, atol=0)


def test_the_published_rates_are_the_default():
    module = EquivalentConv2d(nn.Conv2d(2, 2, 3), EquivalentConfig())
    assert module.branch_drop.flatten().tolist() == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0])
    assert module.element_drop.tolist() == pytest.approx([0] * 7 + [0.05] * 9)


def test_elements_of_one_kernel_are_dropped_for_all_input_channels_and_not_scaled_up():
    torch.manual_seed(0)
    config = EquivalentConfig(branch_drop=0.8, dropconv_share=0)
    module = EquivalentConv2d(nn.Conv2d(3, 400, 3, bias=False), config)
    x = torch.ones(1, 3, 9, 9)
    x[..., ::2] = -1
    seen = []
    module.conv.register_forward_pre_hook(lambda conv, _: seen.append(conv.weight.detach()))
    with torch.no_grad():
        module.gains[:-2], module.gains[-1] = 0, 0
        module(x)
        module.eval()(x)
    (trained, whole), variance = seen, module.running_variance
    assert variance.item() < 1
    kept = trained != 0
    assert kept.all(1).eq(kept.any(1)).all()
    assert (~kept).float().mean().item() == pytest.approx(0.5 * 0.8, abs=0.03)
    ratio = (trained / whole)[kept]
    torch.testing.assert_close(ratio, ratio[0].expand_as(ratio))
    expected = (variance.sqrt() + EPSILON) / (x.var(correction=0).sqrt() + EPSILON)
    torch.testing.assert_close(ratio[0], expected)


def test_the_same_seed_drops_the_same_and_evaluation_drops_nothing():
    module = EquivalentConv2d(nn.Conv2d(4, 4, 3), EquivalentConfig(branch_drop=0.5))
    x = torch.randn(1, 4, 8, 8)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(module(x))
    assert outputs[0].equal(outputs[1])
    assert not outputs[0].equal(outputs[2])
    module.eval()
    assert module(x).equal(module(x))


@pytest.mark.parametrize(
    "values", [{"branch_drop": 1.0}, {"element_share": -0.1}, {"dropconv_share": 15}, {"element_share": 11}]
)
def test_a_rate_out_of_range_is_refused(values):
    with pytest.raises(UserError, match=f"{next(iter(values))}: .* no rate"):
        EquivalentConfig(**values)


def test_a_share_above_one_is_a_rate_all_the_same():
    module = EquivalentConv2d(nn.Conv2d(2, 2, 3), EquivalentConfig(element_share=1.5))
    assert module.element_drop.max().item() == pytest.approx(0.15)


def test_mixed_precision_sums_the_kernel_in_float32():
    module = grown(nn.Conv2d(4, 4, 3, padding=1)).train()
    x = torch.randn(2, 4, 8, 8)
    expected = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        output = module(x.bfloat16())
        assert module.kernel(x.var()).dtype == torch.float32
    assert output.dtype == torch.bfloat16
    assert (output - expected).abs().max() < 0.02 * expected.abs().max()


# --- networks --------------------------------------------------------------------------------------------------


def monodepth2(encoder: str = "resnet18") -> nn.Module:
    torch.manual_seed(0)
    return egodepth.build("monodepth2") if encoder == "resnet18" else Monodepth2Config(encoder).build()


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenetv3_large_100", "tf_mobilenetv3_large_100"])
def test_a_network_trains_with_branches_and_merges_into_the_plain_one(encoder):
    network = monodepth2(encoder)
    plain = network.state_dict().keys()
    large = [m for m in network.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]
    network = equivalent(network, EquivalentConfig())
    assert [m.conv for m in network.modules() if isinstance(m, EquivalentConv2d)] == large
    optimiser = torch.optim.SGD(network.parameters(), 0.01)
    images = seeded_images()
    before = copy.deepcopy(network.state_dict())
    sum(disparity.mean() for disparity in network.train()(images)).backward()
    optimiser.step()
    assert all(not value.equal(before[key]) for key, value in network.state_dict().items() if "running_var" in key)
    merged = merge(network.eval())
    assert merged.state_dict().keys() == plain
    assert not any(isinstance(module, EquivalentConv2d) for module in merged.modules())
    assert any(isinstance(module, EquivalentConv2d) for module in network.modules())
    with torch.no_grad():
        for found, expected in zip(merged(images), network(images), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        monodepth2(encoder).load_state_dict(merged.state_dict())


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenetv3_large_100"])
@torch.no_grad()
def test_a_trained_network_keeps_its_function_when_it_gets_branches(encoder):
    network = monodepth2(encoder)
    images = seeded_images()
    for _ in range(3):
        network.train()(images)
    expected = network.eval()(images)
    network.decoder.train()
    modes = {name: module.training for name, module in network.named_modules()}
    network = equivalent(network, EquivalentConfig(pointwise=True), images)
    assert all(network.get_submodule(name).training == mode for name, mode in modes.items())
    with_branches = network.eval()(images)
    for found, disparity in zip(with_branches, expected, strict=True):
        torch.testing.assert_close(found, disparity, rtol=1e-4, atol=0)
    module = network.decoder.heads[0]
    scales = module.gains / (module.running_variance.sqrt() + EPSILON)
    torch.testing.assert_close(scales[-1], torch.ones(1))
    torch.testing.assert_close(scales[:-1], torch.full_like(scales[:-1], 0.01))


def test_pointwise_convolutions_get_branches_on_request():
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3))
    counts = []
    for config in (EquivalentConfig(), EquivalentConfig(pointwise=True)):
        changed = equivalent(copy.deepcopy(network), config)
        counts.append(sum(isinstance(module, EquivalentConv2d) for module in changed))
    assert counts == [1, 2]


def test_a_convolution_used_twice_stays_one():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    network = equivalent(nn.ModuleDict({"left": conv, "right": conv}), NO_DROPS)
    assert network["left"] is network["right"]
    merged = merge(network)
    assert merged["left"] is merged["right"]
    assert type(merged["left"]) is nn.Conv2d


def test_branches_are_given_once():
    network = equivalent(nn.Sequential(nn.Conv2d(4, 4, 3)), NO_DROPS)
    with pytest.raises(ValueError, match="already"):
        equivalent(network, NO_DROPS)


def test_training_goes_on_from_a_state_dictionary_as_if_never_stopped():
    network = equivalent(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), EquivalentConfig())
    images = seeded_images()
    network(images)
    torch.manual_seed(9)
    fresh = equivalent(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), EquivalentConfig())
    fresh.load_state_dict(network.state_dict())
    outputs = []
    for each in (network, fresh):
        torch.manual_seed(5)
        each(images)
        outputs.append(each(images))
    assert outputs[0].equal(outputs[1])
    torch.testing.assert_close(network.state_dict(), fresh.state_dict(), rtol=0, atol=0)
