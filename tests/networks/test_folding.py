import copy
import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from egodepth.networks.configurations import DIFFNetConfig, DNADepthConfig, Monodepth2Config, SmallDepthConfig
from egodepth.networks.disparity import DisparityNetwork
from egodepth.networks.folding import fold_batch_norms

CONFIGS = {
    "small-depth": SmallDepthConfig(),
    "monodepth2": Monodepth2Config(),
    "mobilenet": Monodepth2Config("mobilenetv3_small_050"),
    "dna-depth": DNADepthConfig(),
    "diffnet": DIFFNetConfig("hrnet_w18_small"),
}


def with_statistics(network: nn.Module) -> nn.Module:
    """In evaluation mode, with norms that differ from channel to channel, as after a training."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            if module.affine:
                nn.init.uniform_(module.weight, 0.7, 1.3, generator=generator)
                nn.init.normal_(module.bias, 0, 0.1, generator=generator)
    return network.eval()


def norms(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]


@functools.cache
def built(name: str) -> DisparityNetwork:
    torch.manual_seed(0)
    return with_statistics(CONFIGS[name].build())


@functools.cache
def folded(name: str) -> DisparityNetwork:
    return fold_batch_norms(copy.deepcopy(built(name)))


# --- published networks ----------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_folding_keeps_what_the_network_gives(name: str) -> None:
    image = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(3))
    (expected, inside), (actual, folded_inside) = built(name).with_features(image), folded(name).with_features(image)
    for before, after in zip(expected, actual, strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    torch.testing.assert_close(folded(name).finest(image), built(name).finest(image), rtol=0, atol=1e-5)
    # An untrained disparity hardly depends on the features, so they have to agree themselves.
    maps = zip(inside.encoder + inside.decoder, folded_inside.encoder + folded_inside.decoder, strict=True)
    for before, after in maps:
        torch.testing.assert_close(after, before, rtol=0, atol=2e-5 * before.abs().max().item())


@pytest.mark.parametrize("name", CONFIGS)
def test_no_norm_is_left(name: str) -> None:
    assert len(norms(built(name))) > 10
    assert norms(folded(name)) == []
    assert not any("running" in key for key in folded(name).state_dict())


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_a_network_built_and_folded_again_takes_the_folded_weights(name: str) -> None:
    again = fold_batch_norms(CONFIGS[name].build())
    state = folded(name).state_dict()
    assert list(again.state_dict()) == list(state)
    again.load_state_dict(state)
    image = torch.rand(1, 3, 64, 96)
    assert torch.equal(again.finest(image), folded(name).finest(image))


# --- which norms are folded ------------------------------------------------------------------------------------


class Layers(nn.Module):
    """Layers a, b, norm, registered in an order that says nothing of the data's, and a way through them."""

    def __init__(self, way: Callable[["Layers", Tensor], object]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.b = nn.Conv2d(3, 3, kernel_size=3, padding=1)
        self.a = nn.Conv2d(3, 3, kernel_size=1, bias=False)
        self.way = way

    def forward(self, image: Tensor) -> object:
        return self.way(self, image)


def used_elsewhere(net: Layers, image: Tensor) -> Tensor:
    convolved = net.a(image)
    return net.norm(convolved) + convolved


def viewed_elsewhere(net: Layers, image: Tensor) -> Tensor:
    convolved = net.a(image)
    return net.norm(convolved) * convolved.flatten(2).mean()


def handed_out(net: Layers, image: Tensor) -> object:
    convolved = net.a(image)
    return {"raw": [convolved], "normed": net.norm(convolved)}


UNTOUCHED: dict[str, Callable[[Layers, Tensor], object]] = {
    "the result is used elsewhere": used_elsewhere,
    "a view of the result is used elsewhere": viewed_elsewhere,
    "the result is handed out": handed_out,
    "the convolution is called twice": lambda net, image: net.norm(net.a(net.a(image))),
    "the norm is called twice": lambda net, image: net.norm(net.a(image)) + net.norm(net.b(image)),
    "an activation lies between": lambda net, image: net.norm(net.a(image).relu_()),
    "the norm comes first": lambda net, image: net.a(net.norm(image)),
}


@torch.no_grad()
@pytest.mark.parametrize("why", UNTOUCHED)
def test_a_norm_stays_where(why: str) -> None:
    network = with_statistics(Layers(UNTOUCHED[why]))
    image, state = torch.rand(1, 3, 8, 8), copy.deepcopy(network.state_dict())
    expected = network(image)
    assert norms(fold_batch_norms(network)) == ["norm"]
    assert [key for key, tensor in network.state_dict().items() if not torch.equal(state[key], tensor)] == []
    torch.testing.assert_close(network(image), expected)


@torch.no_grad()
@pytest.mark.parametrize("conv", ["a", "b"])
def test_the_data_says_which_convolution_a_norm_follows(conv: str) -> None:
    ways = {
        "a": lambda net, image: net.b(net.norm(net.a(image)).relu_()),
        "b": lambda net, image: net.a(net.norm(net.b(image)).relu_()),
    }
    network = with_statistics(Layers(ways[conv]))
    image, other = torch.rand(1, 3, 8, 8), {"a": "b", "b": "a"}[conv]
    expected, untouched = network(image), getattr(network, other).weight
    assert norms(fold_batch_norms(network)) == []
    assert getattr(network, other).weight is untouched
    torch.testing.assert_close(network(image), expected)


@torch.no_grad()
def test_a_norm_without_parameters_of_its_own_is_folded() -> None:
    network = Layers(lambda net, image: net.norm(net.b(image)))
    network.norm = nn.BatchNorm2d(3, affine=False)
    image, expected = torch.rand(1, 3, 8, 8), with_statistics(network)(torch.ones(1, 3, 8, 8))
    assert norms(fold_batch_norms(network)) == []
    torch.testing.assert_close(network(torch.ones(1, 3, 8, 8)), expected)
    assert network(image).shape == image.shape


@torch.no_grad()
def test_a_shared_or_computed_kernel_is_left_alone() -> None:
    shared = with_statistics(Layers(lambda net, image: net.norm(net.a(image)) + net.b(image)))
    shared.b = nn.Conv2d(3, 3, kernel_size=1, bias=False)
    shared.b.weight = shared.a.weight

    class Standardised(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight - weight.mean((1, 2, 3), keepdim=True)

    computed = with_statistics(Layers(lambda net, image: net.norm(net.a(image))))
    parametrize.register_parametrization(computed.a, "weight", Standardised())
    for network in (shared, computed):
        image = torch.rand(1, 3, 8, 8)
        expected = network(image)
        assert norms(fold_batch_norms(network)) == ["norm"]
        torch.testing.assert_close(network(image), expected)


@torch.no_grad()
def test_a_norm_that_someone_listens_to_is_left_alone() -> None:
    heard: list[Tensor] = []
    network = with_statistics(Layers(lambda net, image: net.norm(net.a(image))))
    network.norm.register_forward_hook(lambda *call: heard.append(call[2]))
    fold_batch_norms(network)
    heard.clear()
    assert network(torch.rand(1, 3, 8, 8)) is heard[0]


@torch.no_grad()
def test_a_layer_under_two_names_is_replaced_under_both() -> None:
    network = with_statistics(Layers(lambda net, image: net.norm(net.a(image))))
    network.alias = network.norm
    assert norms(fold_batch_norms(network)) == []
    assert network.alias is network.norm


@torch.no_grad()
def test_a_norm_that_only_one_of_two_passes_could_fold_stays() -> None:
    class Network(DisparityNetwork):
        """Its training reads a disparity from the raw result as well; its inference does not."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 1, kernel_size=1), nn.BatchNorm2d(1)

        def with_features(self, image: Tensor) -> object:
            convolved = self.conv(image)
            features = type("Seen", (), {"encoder": (), "decoder": ()})
            return (self.norm(convolved).sigmoid(), convolved.sigmoid()), features

        def finest(self, image: Tensor) -> Tensor:
            return self.norm(self.conv(image)).sigmoid()

    network, image = with_statistics(Network()), torch.rand(1, 3, 8, 8)
    expected = network(image)
    assert norms(fold_batch_norms(network)) == ["norm"]
    torch.testing.assert_close(network(image), expected)


def test_folding_works_from_inference_mode() -> None:
    network = with_statistics(Layers(lambda net, image: net.norm(net.a(image))))
    with torch.inference_mode():
        fold_batch_norms(network)
    assert norms(network) == []
    network(torch.rand(1, 3, 8, 8, requires_grad=True)).sum().backward()
