import functools
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from egodepth.errors import UserError
from egodepth.networks.complexity import ShapesAlone
from egodepth.networks.configurations import DIFFNetConfig
from egodepth.networks.diffnet import AttentionFusion
from egodepth.networks.disparity import EncoderDecoder
from egodepth.networks.pretrained import diffnet_place, import_weights
from tests.seeded_weights import seeded_state, seeded_tensor, write_seeded_checkpoints

REFERENCES = Path(__file__).parents[1] / "reference"
REFERENCE = json.loads((REFERENCES / "diffnet.json").read_text())
KEY_LIST = json.loads((REFERENCES / "diffnet-keys.json").read_text())
MEND = "Choose the recipe."


@functools.cache
def without_storage(encoder: str = DIFFNetConfig.encoder) -> EncoderDecoder:
    """On the meta device: layers and shapes without values, which is all that counting needs."""
    with torch.device("meta"):
        return DIFFNetConfig(encoder).build()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shapes(module: nn.Module, height: int, width: int) -> list:
    """What a module on the meta device makes of an image."""
    with ShapesAlone(), torch.no_grad():
        return module(torch.empty(1, 3, height, width, device="meta"))


def macs(network: EncoderDecoder, height: int, width: int) -> tuple[int, int]:
    """Of the network, and of its encoder."""
    with FlopCounterMode(display=False) as counter:
        shapes(network, height, width)
    counts = counter.get_flop_counts()
    return counter.get_total_flops() // 2, sum(counts["EncoderDecoder.encoder"].values()) // 2


def statistics(values: Tensor) -> list[float]:
    return [values.mean().item(), values.std(unbiased=False).item(), values.min().item(), values.max().item()]


def close(expected: list[float]) -> object:
    return pytest.approx(expected, abs=1e-5, rel=1e-5)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with key-seeded files of the authors' layout."""
    folder = tmp_path_factory.mktemp("published")
    write_seeded_checkpoints(folder, KEY_LIST)
    return folder


@pytest.fixture(scope="module")
def imported(published: Path) -> EncoderDecoder:
    network = DIFFNetConfig().build().eval()
    assert import_weights(network, diffnet_place, published, MEND).unused == ()
    return network


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(2, 3, 64, 192, generator=torch.Generator().manual_seed(1234))


# --- counts ----------------------------------------------------------------------------------------------------


def test_each_part_of_the_network_has_its_published_count() -> None:
    network = without_storage()
    totals = {"encoder": network.encoder, "decoder": network.decoder, "total": network}
    assert {name: parameters(part) for name, part in totals.items()} == REFERENCE["parameters"]
    body = network.encoder.body
    expected = REFERENCE["encoder_parameters"]
    assert {name: parameters(getattr(body, name)) for name in expected} == expected
    expected = REFERENCE["decoder_parameters"]
    assert parameters(network.decoder.tail) == expected["tail"]
    assert [parameters(fusion) for fusion in network.decoder.fusions] == expected["fusions"]
    assert [parameters(head) for head in network.decoder.heads] == expected["heads"]


@pytest.mark.parametrize(("name", "count"), REFERENCE["wider_encoder_parameters"].items())
def test_wider_encoders_build(name: str, count: int) -> None:
    network = without_storage(name)
    assert parameters(network.encoder) == count
    assert shapes(network, 64, 96)[0].shape == (1, 1, 64, 96)


@pytest.mark.parametrize(("height", "width"), [(192, 640), (320, 1024)])
def test_the_work_is_the_published_number_of_macs(height: int, width: int) -> None:
    (total, encoder), expected = macs(without_storage(), height, width), REFERENCE["macs"][f"{height}x{width}"]
    assert {"encoder": encoder, "decoder": total - encoder, "total": total} == expected


@pytest.mark.parametrize(("height", "width"), [(96, 160), (128, 416), (192, 640), (320, 1024)])
def test_disparities_have_four_sizes(height: int, width: int) -> None:
    assert [disparity.shape for disparity in shapes(without_storage(), height, width)] == [
        (1, 1, height >> scale, width >> scale) for scale in range(4)
    ]


def test_the_encoder_gives_the_features_of_all_its_stages() -> None:
    encoder = without_storage().encoder
    assert [list(channels) for channels in encoder.channels] == REFERENCE["channels"]
    features = shapes(encoder, 192, 640)
    assert [[feature.shape[1:] for feature in level] for level in features] == [
        [(channels, 192 >> stride, 640 >> stride) for channels in level]
        for stride, level in enumerate(REFERENCE["channels"], 1)
    ]


# --- values ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_imported_weights_give_the_published_features(imported: EncoderDecoder, image: Tensor) -> None:
    for level, expected_level in zip(imported.encoder(image), REFERENCE["seeded_features"], strict=True):
        for feature, expected in zip(level, expected_level, strict=True):
            assert statistics(feature)[: len(expected)] == close(expected)


@torch.no_grad()
def test_imported_weights_give_the_published_disparities(imported: EncoderDecoder, image: Tensor) -> None:
    disparities = imported(image)
    for disparity, expected in zip(disparities, REFERENCE["seeded_disparities"], strict=True):
        assert statistics(disparity) == close(expected)
    assert [disparities[0][0, 0, 0, 0].item(), disparities[0][1, 0, 63, 191].item()] == close(
        REFERENCE["seeded_corners"]
    )


@torch.no_grad()
def test_the_attention_module_gives_the_published_values() -> None:
    fusion = AttentionFusion(128, 32)
    keys = {key: diffnet_place(f"decoder.fusions.0.{key}")[1].removeprefix("decoder.5.") for key in fusion.state_dict()}
    fusion.load_state_dict({key: seeded_tensor(keys[key], value.shape) for key, value in fusion.state_dict().items()})
    generator = torch.Generator().manual_seed(5)
    coarse, fine = (torch.rand(1, 64, 4 << step, 6 << step, generator=generator) for step in range(2))
    mean, deviation, _, largest = statistics(fusion(coarse, [fine]))
    assert {"mean": mean, "deviation": deviation, "max": largest} == close(REFERENCE["seeded_fusion"])


@torch.no_grad()
def test_inference_leaves_out_the_coarse_heads(imported: EncoderDecoder, image: Tensor) -> None:
    complete, used = imported(image)[0], []
    hooks = [
        head.register_forward_hook(lambda *_, scale=scale: used.append(scale))
        for scale, head in enumerate(imported.decoder.heads)
    ]
    finest = imported.finest(image)
    for hook in hooks:
        hook.remove()
    assert used == [0]
    assert torch.equal(finest, complete)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    network = DIFFNetConfig().build().train()
    sum((disparity * torch.rand_like(disparity)).sum() for disparity in network(torch.rand(2, 3, 64, 96))).backward()
    assert [name for name, parameter in network.named_parameters() if not parameter.grad.any()] == []


# --- weights of others -----------------------------------------------------------------------------------------

DECODER = KEY_LIST["depth.pth"]
NAMES = list(dict.fromkeys(key.split(".")[1] for key in DECODER if key.startswith("convs.")))
"""The authors' names of the decoder's layers, in the order of their list."""


def named_form(key: str) -> str:
    """The name under which `convs` holds the tensor that the list `decoder` holds under this key."""
    _, place, tail = key.split(".", 2)
    return f"convs.{NAMES[int(place)]}.{tail}"


@pytest.mark.parametrize("form", ["decoder", "convs"])
def test_either_set_of_decoder_names_is_enough(
    form: str, published: Path, imported: EncoderDecoder, tmp_path: Path
) -> None:
    listed = seeded_state({key: entry for key, entry in DECODER.items() if key.startswith("decoder.")})
    assert {named_form(key) for key in listed} == set(DECODER) - set(listed)
    (tmp_path / "encoder.pth").symlink_to(published / "encoder.pth")
    torch.save(
        listed if form == "decoder" else {named_form(key): tensor for key, tensor in listed.items()},
        tmp_path / "depth.pth",
    )
    network = DIFFNetConfig().build()
    assert import_weights(network, diffnet_place, tmp_path, MEND).unused == ()
    loaded = network.state_dict()
    assert [key for key, tensor in imported.state_dict().items() if not torch.equal(loaded[key], tensor)] == []


def test_a_decoder_of_the_older_archives_is_refused_with_the_tensor_named(published: Path, tmp_path: Path) -> None:
    (tmp_path / "encoder.pth").symlink_to(published / "encoder.pth")
    torch.save({f"older.{key}": tensor for key, tensor in seeded_state(DECODER).items()}, tmp_path / "depth.pth")
    with pytest.raises(UserError, match=r"decoder\.fusions\.0.*Choose the recipe"):
        import_weights(DIFFNetConfig().build(), diffnet_place, tmp_path, MEND)


def test_imagenet_weights_of_the_hrnet_project_are_read(tmp_path: Path) -> None:
    classifier = {
        "incre_modules.0.0.conv1.weight": ((32, 18, 1, 1), "float32"),
        "classifier.bias": ((1000,), "float32"),
    }
    torch.save(seeded_state(KEY_LIST["encoder.pth"] | classifier), tmp_path / "hrnetv2_w18.pth")
    encoder = DIFFNetConfig().build().encoder
    encoder.load_pretrained(str(tmp_path / "hrnetv2_w18.pth"))
    for key, tensor in encoder.body.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, seeded_tensor(key, tensor.shape)), key
