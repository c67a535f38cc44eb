import functools
import json
from pathlib import Path

import pytest
import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from egodepth.errors import UserError
from egodepth.networks.blocks import ChannelAttention
from egodepth.networks.complexity import ShapesAlone
from egodepth.networks.configurations import DNA_DEPTH_ENCODERS, DNADepthConfig
from egodepth.networks.disparity import EncoderDecoder
from egodepth.networks.dna_depth import Node, SeparableConv
from egodepth.networks.pretrained import dna_depth_place, import_weights
from tests.seeded_weights import seeded_state, seeded_tensor, write_seeded_checkpoints

REFERENCES = Path(__file__).parents[1] / "reference"
REFERENCE = json.loads((REFERENCES / "dna_depth.json").read_text())
KEY_LISTS = [json.loads((REFERENCES / f"dna-depth-b{size}-keys.json").read_text()) for size in (0, 1)]
MEND = "Choose the recipe."

SIZES = range(len(DNA_DEPTH_ENCODERS))
PUBLISHED_SIZES = (0, 1)


def network_of(size: int) -> EncoderDecoder:
    return DNADepthConfig(DNA_DEPTH_ENCODERS[size]).build()


@functools.cache
def without_storage(size: int) -> EncoderDecoder:
    """On the meta device: layers and shapes without values, which is all that counting needs."""
    with torch.device("meta"):
        return network_of(size)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def macs(network: EncoderDecoder, height: int, width: int) -> tuple[int, int]:
    """Of the network, and of its encoder."""
    with ShapesAlone(), FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, height, width, device="meta"))
    counts = counter.get_flop_counts()
    return counter.get_total_flops() // 2, sum(counts["EncoderDecoder.encoder"].values()) // 2


def statistics(values: Tensor) -> list[float]:
    return [values.mean().item(), values.std(unbiased=False).item(), values.min().item(), values.max().item()]


def close(expected: list[float]) -> object:
    return pytest.approx(expected, abs=1e-5, rel=1e-5)


@pytest.fixture(scope="module", params=PUBLISHED_SIZES)
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, EncoderDecoder]:
    """Size and network, with key-seeded files of the authors' layout imported."""
    folder = tmp_path_factory.mktemp("published")
    write_seeded_checkpoints(folder, KEY_LISTS[request.param])
    network = network_of(request.param).eval()
    taken = import_weights(network, dna_depth_place(network), folder, MEND)
    assert taken.unused == ()
    return request.param, network


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(2, 3, 64, 192, generator=torch.Generator().manual_seed(1234))


# --- counts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_every_size_builds_with_the_published_counts(size: int) -> None:
    network = without_storage(size)
    assert parameters(network) == REFERENCE["parameters"]["total"][size]
    assert list(network.encoder.channels) == REFERENCE["taps"][size]
    assert sum(len(stage) for stage in network.encoder.body.blocks) == REFERENCE["blocks"][size]


@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_encoder_and_decoder_hold_their_shares_of_the_parameters(size: int) -> None:
    network = without_storage(size)
    assert parameters(network.encoder) == REFERENCE["parameters"]["encoder"][size]
    assert parameters(network.decoder) == REFERENCE["parameters"]["decoder"][size]


def test_each_part_of_the_network_has_its_published_count() -> None:
    network, expected = without_storage(0), REFERENCE["decoder_parameters"]
    decoder = network.decoder
    assert [parameters(entry) for entry in decoder.entries] == expected["entries"]
    nodes = [parameters(node) for node in decoder.nodes.values()]
    assert sorted(nodes) == [expected["node_of_two"]] * 4 + [expected["node_of_three"]] * 6
    upconv, *rest = [parameters(layer) for layer in decoder.tail if parameters(layer)]
    assert [upconv, sum(rest)] == expected["tail"]
    assert [parameters(head.attention) for head in decoder.heads] == expected["attention"]
    assert [parameters(head.conv) for head in decoder.heads] == expected["head_conv"]
    blocks = [parameters(block) for stage in network.encoder.body.blocks for block in stage]
    assert blocks == REFERENCE["encoder_block_parameters"]


@pytest.mark.parametrize("size", range(4))
@pytest.mark.parametrize(("height", "width"), [(192, 640), (320, 1024)])
def test_the_work_is_the_published_number_of_macs(size: int, height: int, width: int) -> None:
    (total, encoder), expected = macs(without_storage(size), height, width), REFERENCE["macs"][f"{height}x{width}"]
    assert total == expected["total"][size]
    assert encoder == expected["encoder"][size]
    assert total - encoder == expected["decoder"][size]


@pytest.mark.parametrize(("height", "width"), [(96, 160), (128, 416), (192, 640), (320, 1024)])
def test_disparities_have_four_sizes(height: int, width: int) -> None:
    with ShapesAlone():
        disparities = without_storage(0)(torch.empty(1, 3, height, width, device="meta"))
    assert [disparity.shape for disparity in disparities] == [
        (1, 1, height >> scale, width >> scale) for scale in range(4)
    ]


# --- values ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_imported_weights_give_the_published_features(imported: tuple[int, EncoderDecoder], image: Tensor) -> None:
    size, network = imported
    for feature, expected in zip(network.encoder(image), REFERENCE["seeded_features"][size], strict=True):
        assert statistics(feature)[: len(expected)] == close(expected)


@torch.no_grad()
def test_imported_weights_give_the_published_disparities(imported: tuple[int, EncoderDecoder], image: Tensor) -> None:
    size, network = imported
    disparities, corners = network(image), REFERENCE["seeded_corners"][size]
    for disparity, expected in zip(disparities, REFERENCE["seeded_disparities"][size], strict=True):
        assert statistics(disparity)[: len(expected)] == close(expected)
    for disparity, expected in ((disparities[0], corners["finest"]), (disparities[3], corners["coarsest"])):
        assert [disparity[0, 0, 0, 0].item(), disparity[1, 0, -1, -1].item()] == close(expected)


@torch.no_grad()
def test_the_modules_give_the_published_values(imported: tuple[int, EncoderDecoder]) -> None:
    place = dna_depth_place(imported[1])

    def seeded(module: nn.Module, ours: str, theirs: str) -> nn.Module:
        """The module filled by the authors' keys within it, as for a network that is this module alone."""
        keys = {key: place(ours + key)[1].removeprefix(theirs) for key in module.state_dict()}
        module.load_state_dict(
            {key: seeded_tensor(keys[key], value.shape) for key, value in module.state_dict().items()}
        )
        return module

    generator = torch.Generator().manual_seed(5)
    coarser, same, finer = (torch.rand(1, 64, 4 << step, 6 << step, generator=generator) for step in range(3))
    node_of_three = seeded(Node(with_finer=True), "decoder.nodes.F4_1.", "simfpn4_0.")
    node_of_two = seeded(Node(with_finer=False), "decoder.nodes.F1_1.", "simfpn1_0.")
    attention = seeded(ChannelAttention(64), "decoder.heads.1.attention.", "attn_1.")
    separable = seeded(SeparableConv(64, 32, stride=2), "decoder.nodes.F4_1.finer.", "simfpn4_0.down_conv.")
    results = {
        "node_of_three": node_of_three(coarser, same, finer),
        "node_of_two": node_of_two(coarser, same),
        "attention": attention(same),
        "separable_stride_2": separable(finer),
    }
    assert {name: statistics(result) for name, result in results.items()} == {
        name: close(expected) for name, expected in REFERENCE["seeded_modules"].items()
    }


@torch.no_grad()
def test_inference_leaves_out_the_coarse_heads(imported: tuple[int, EncoderDecoder], image: Tensor) -> None:
    _, network = imported
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


# --- training --------------------------------------------------------------------------------------------------


def test_gradients_reach_every_parameter(imported: tuple[int, EncoderDecoder], image: Tensor) -> None:
    # Evaluation mode, so that no block is dropped by chance; key-seeded weights, as random ones can leave the two
    # hidden units of a channel attention at zero.
    _, network = imported
    parameters_of = dict(network.named_parameters())
    loss = sum((disparity * disparity.detach()).sum() for disparity in network(image))
    gradients = torch.autograd.grad(loss, parameters_of.values())
    assert [name for name, gradient in zip(parameters_of, gradients, strict=True) if not gradient.any()] == []


def test_no_parameter_is_without_a_gradient_when_blocks_are_dropped() -> None:
    network = network_of(0).train()
    for disparity in network(torch.rand(1, 3, 64, 96)):
        disparity.sum().backward(retain_graph=True)
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_deeper_blocks_are_dropped_more_often(size: int) -> None:
    blocks = [block for stage in without_storage(size).encoder.body.blocks for block in stage]
    for place, block in enumerate(blocks):
        rate = block.drop_path.drop_prob if isinstance(block.drop_path, DropPath) else 0
        assert rate == pytest.approx(0.2 * place / len(blocks))


@torch.no_grad()
def test_dropout_hits_the_two_deepest_features_in_training_alone() -> None:
    torch.manual_seed(0)
    network = network_of(0)
    features = network.encoder.eval()(torch.rand(1, 3, 64, 96))
    seen = {}
    for level, entry in enumerate(network.decoder.entries):
        entry.register_forward_hook(lambda _, inputs, __, level=level: seen.__setitem__(level, inputs[0]))
    network.decoder.train()(features)
    for level, feature in enumerate(features):
        if level < 3:
            assert torch.equal(seen[level], feature)
        else:
            kept = seen[level] != 0
            assert 0.4 < kept.float().mean() < 0.6
            torch.testing.assert_close(seen[level][kept], 2 * feature[kept])
    network.decoder.eval()(features)
    assert all(torch.equal(seen[level], feature) for level, feature in enumerate(features))


# --- weights of others -----------------------------------------------------------------------------------------


def test_the_files_of_another_size_are_refused_with_the_tensor_named(tmp_path: Path) -> None:
    write_seeded_checkpoints(tmp_path, KEY_LISTS[0])
    network = network_of(1)
    with pytest.raises(UserError, match=r"encoder\.body\..*Choose the recipe"):
        import_weights(network, dna_depth_place(network), tmp_path, MEND)


def test_imagenet_weights_of_the_efficientnet_pytorch_package_are_read(tmp_path: Path) -> None:
    keys = {key.removeprefix("model."): value for key, value in KEY_LISTS[0]["encoder.pth"].items()}
    classifier = {"_conv_head.weight": ((1280, 320, 1, 1), "float32"), "_fc.weight": ((1000, 1280), "float32")}
    torch.save(seeded_state(keys | classifier), tmp_path / "efficientnet-b0.pth")
    encoder = network_of(0).encoder
    encoder.load_pretrained(str(tmp_path / "efficientnet-b0.pth"))
    loaded = encoder.body.state_dict()
    assert torch.equal(loaded["conv_stem.weight"], seeded_tensor("_conv_stem.weight", (32, 3, 3, 3)))
    last = "_blocks.15._project_conv.weight"
    assert torch.equal(loaded["blocks.6.0.conv_pwl.weight"], seeded_tensor(last, keys[last][0]))
