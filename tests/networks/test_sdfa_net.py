import functools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from egodepth.errors import UserError
from egodepth.geometry.stereo_volume import expected_disparity, reproject, synthesise_other_view
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.losses.photometric import patch_moments, photometric_error
from egodepth.losses.self_distilled import (
    curvature_aware_smoothness,
    distillation_loss,
    perceptual_distances,
    photometric_mask,
    synthesis_loss,
    visible_mask,
)
from egodepth.models.importing import import_published
from egodepth.models.opening import load
from egodepth.networks.complexity import ShapesAlone
from egodepth.networks.configurations import SDFANetConfig
from egodepth.networks.perceptual import PerceptualFeatures
from egodepth.networks.pretrained import import_weights, only_checkpoint, sdfa_net_place
from egodepth.networks.sdfa_net import IMAGE_MEAN, FeatureAggregation, SDFANet, offset_norms, sample_at_offsets
from egodepth.networks.swin import SwinEncoder
from tests.seeded_weights import seeded_state, seeded_tensor

REFERENCES = Path(__file__).parents[1] / "reference"
REFERENCE = json.loads((REFERENCES / "sdfa_net.json").read_text())
KEYS = json.loads((REFERENCES / "sdfa-net-keys.json").read_text())["model"]
MEND = "Choose the recipe."
MEAN = torch.tensor(IMAGE_MEAN)[:, None, None]


@functools.cache
def without_storage(encoder: str = "swin", decoder: str = "sdfa") -> SDFANet:
    """On the meta device: layers and shapes without values, which is all that counting needs."""
    with torch.device("meta"):
        return SDFANetConfig(encoder, decoder).build().eval()


def blank(height: int, width: int) -> Tensor:
    return torch.empty(1, 3, height, width, device="meta")


def parameters(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def statistics(values: Tensor) -> list[float]:
    return [values.mean().item(), values.std(unbiased=False).item(), values.min().item(), values.max().item()]


def close(expected: object) -> object:
    return pytest.approx(expected, abs=1e-5, rel=1e-5)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one key-seeded file of the authors' layout, the state of its optimiser under a tuple."""
    folder = tmp_path_factory.mktemp("published")
    state = {"model_params": seeded_state(KEYS), "epoch": 50, "step": 94150, ("optim_params", 0): {"state": {}}}
    torch.save(state, folder / "SDFA-Net_384.pth")
    return folder


@pytest.fixture(scope="module")
def imported(published: Path) -> SDFANet:
    network = SDFANetConfig().build().eval()
    taken = import_weights(network, sdfa_net_place(only_checkpoint(published)), published, MEND)
    assert taken.unused == ()
    assert taken.entries == {"epoch": 50, "step": 94150}
    return network


@pytest.fixture(scope="module")
def image() -> Tensor:
    """The specification feeds random values without taking the mean off, so it is added here."""
    return torch.rand(2, 3, 64, 192, generator=torch.Generator().manual_seed(1234)) + MEAN


# --- counts ----------------------------------------------------------------------------------------------------


def test_each_part_of_the_network_has_its_published_count() -> None:
    network = without_storage()
    totals = {"encoder": network.encoder, "decoder": network.decoder, "total": network}
    assert {name: parameters(part) for name, part in totals.items()} == REFERENCE["parameters"]
    expected, layers = REFERENCE["encoder_parameters"], network.encoder.layers
    merging = [parameters(stage.downsample) for stage in layers]
    assert parameters(network.encoder.patch_embed) == expected["embedding"]
    assert merging == [0, *expected["merging"]]
    # The authors count a merging to the stage before it.
    assert [
        parameters(stage.blocks) + after for stage, after in zip(layers, [*merging[1:], 0], strict=True)
    ] == expected["stages"]
    assert [{parameters(block) for block in stage.blocks} for stage in layers] == [{n} for n in expected["blocks"]]
    assert [parameters(norm) for norm in network.encoder.norms] == expected["norms"]
    expected, decoder = REFERENCE["decoder_parameters"], network.decoder
    joins = [decoder.joins[level] for level in (3, 2, 1)]
    assert [parameters(join.adapter) for join in joins] == expected["adapters"]
    assert [parameters(join.aggregation) for join in joins] == expected["aggregations"]
    convolutions = [conv for level in (3, 2, 1, 0) for conv in (decoder.before[level], decoder.after[level])]
    assert [parameters(convolution) for convolution in convolutions] == expected["convolutions"]
    assert [parameters(output) for output in decoder.outputs.values()] == expected["outputs"]


@pytest.mark.parametrize("variant", REFERENCE["variant_parameters"], ids=lambda v: f"{v['encoder']}-{v['decoder']}")
def test_variants_have_their_published_counts(variant: dict) -> None:
    network = without_storage(variant["encoder"], variant["decoder"])
    assert parameters(network.decoder) == variant.get("of_decoder", parameters(network.decoder))
    assert parameters(network) == variant.get("total", parameters(network))
    with ShapesAlone():
        assert network(blank(96, 160), network.paths[-1]).shape == (1, 49, 96, 160)


@pytest.mark.parametrize("size", REFERENCE["macs"])
def test_the_work_of_inference_is_the_published_number_of_macs(size: str) -> None:
    network, expected = without_storage(), REFERENCE["macs"][size]
    with ShapesAlone(), FlopCounterMode(display=False, depth=None) as counter, torch.no_grad():
        network(blank(*map(int, size.split("x"))), "distilled")
    flops = counter.get_flop_counts()
    by_operation = {str(operation): count // 2 for operation, count in flops["SDFANet.encoder"].items()}
    assert by_operation == {
        "aten.convolution": expected["embedding"],
        "aten.addmm": expected["linear"],
        "aten.mm": expected["merging"],
        "aten.bmm": expected["attention"],
    }
    assert sum(by_operation.values()) == expected["encoder"]
    assert sum(flops["SDFANet.decoder"].values()) // 2 == expected["decoder"]
    assert counter.get_total_flops() // 2 == expected["total"]


def test_stochastic_depth_grows_from_block_to_block() -> None:
    blocks = [block for stage in without_storage().encoder.layers for block in stage.blocks]
    for step in ("drop_path1", "drop_path2"):
        rates = [getattr(getattr(block, step), "drop_prob", 0) for block in blocks]
        assert rates == pytest.approx(REFERENCE["stochastic_depth"], abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(96, 160), (192, 640), (90, 150)])
def test_the_network_takes_any_size(height: int, width: int) -> None:
    network = without_storage()
    features = network.encode(blank(height, width))
    # The image is padded to whole kernels of 4x4 pixels.
    rows, columns = (4 * math.ceil(side / 4) for side in (height, width))
    assert [feature.shape[1:] for feature in features] == [
        (channels, math.ceil(rows / stride), math.ceil(columns / stride))
        for channels, stride in zip((96, 192, 384, 768), (2, 4, 8, 16), strict=True)
    ]
    assert network.decode(features, (height, width), "raw").shape == (1, 49, height, width)


# --- values ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_imported_weights_give_the_published_features_and_logits(imported: SDFANet, image: Tensor) -> None:
    features = imported.encode(image)
    for feature, expected in zip(features, REFERENCE["seeded_features"], strict=True):
        assert statistics(feature) == close(expected)
    for path, expected in REFERENCE["seeded_logits"].items():
        assert statistics(imported.decode(features, (64, 192), path)) == close(expected)


@torch.no_grad()
@pytest.mark.parametrize("path", ["raw", "distilled"])
def test_imported_weights_give_the_published_offsets(imported: SDFANet, image: Tensor, path: str) -> None:
    aggregations = [imported.decoder.joins[level].aggregation for level in (3, 2, 1)]
    found: dict[str, list[Tensor]] = {"decoded": [], "raw": [], "distilled": []}
    hooks = [
        branch.register_forward_hook(lambda *args, name=name: found[name].append(args[-1]))
        for aggregation in aggregations
        for name, branch in {"decoded": aggregation.decoded_offsets, **aggregation.encoder_offsets}.items()
    ]
    imported(image, path)
    for hook in hooks:
        hook.remove()
    assert not found[{"raw": "distilled", "distilled": "raw"}[path]], "a branch of the other path ran"
    for offsets, expected in zip(found[path], REFERENCE["seeded_encoder_offsets"][path], strict=True):
        assert statistics(offsets)[: len(expected)] == close(expected)
    if path == "raw":
        assert [statistics(offsets) for offsets in found["decoded"]] == [
            close(expected) for expected in REFERENCE["seeded_decoded_offsets"]
        ]


@torch.no_grad()
def test_the_aggregation_module_gives_the_published_values() -> None:
    module = FeatureAggregation(32, ("raw", "distilled")).eval()
    name = sdfa_net_place("")
    keys = {
        key: name(f"decoder.joins.3.aggregation.{key}")[1].removeprefix("1._convs.1.") for key in module.state_dict()
    }
    for key, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(seeded_tensor(keys[key], value.shape))
    generator = torch.Generator().manual_seed(5)
    decoded, encoded = (torch.rand(1, 32, 4 << step, 6 << step, generator=generator) for step in range(2))
    for path in module.encoder_offsets:
        assert statistics(module(decoded, encoded, path))[:2] == close(REFERENCE["seeded_aggregation"][path])
    enlarged = nn.functional.interpolate(decoded, size=(8, 12), mode="bilinear", align_corners=True)
    offsets = module.decoded_offsets(torch.cat([encoded, enlarged], 1))
    assert sample_at_offsets(enlarged, offsets).mean().item() == close(REFERENCE["seeded_aggregation"]["decoded"])


@torch.no_grad()
def test_inference_gives_the_published_depth(imported: SDFANet) -> None:
    left = torch.rand(2, 3, 64, 192, generator=torch.Generator().manual_seed(99)) - 0.43
    depth = 400 / left.shape[-1] * imported.predict_depth(left + MEAN)
    expected = REFERENCE["inference"]
    assert {"mean": depth.mean().item(), "corner": depth[0, 0, 0, 0].item()} == close(expected)


PUBLISHED_DISP_K = {1242: 400.8299, 1241: 395.7677, 1224: 413.3253, 1238: 396.6865, 1226: 397.2335, 1280: 401.55}
"""The published code's metres times pixels at a width of 1280, by the width of the native image; 1280 for any other."""


@pytest.fixture(scope="module")
def small_model(published: Path, tmp_path_factory: pytest.TempPathFactory) -> NetworkPredictor:
    """The imported model, for pictures of 64x192: they take less time than its own size."""
    folder = tmp_path_factory.mktemp("imported")
    import_published("sdfa-net", published, folder)
    model = load(folder)
    return NetworkPredictor(model.network, replace(model.facts, height=64, width=192))


def test_an_imported_model_has_the_published_metres_at_each_width_of_kitti(small_model: NetworkPredictor) -> None:
    model, height, width = small_model, 64, 192
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        disparity = model.network.disparity(pixels)[0, 0].numpy() / width * 1280
    names = list(PUBLISHED_DISP_K)
    for native, depth in zip(names, model.enlargements([picture] * 6, [(64, name) for name in names]), strict=True):
        columns = (np.arange(native) + 0.5) * width / native - 0.5
        enlarged = np.stack([np.interp(columns, np.arange(width), row) for row in disparity])
        np.testing.assert_allclose(depth(), PUBLISHED_DISP_K[native] / enlarged, rtol=1e-4)


@torch.no_grad()
def test_evaluation_reads_the_width_of_the_native_image(small_model: NetworkPredictor) -> None:
    model = small_model
    for native, constant in PUBLISHED_DISP_K.items():
        image = np.full((60, native, 3), 90, dtype=np.uint8)
        pixels = torch.from_numpy(model.reduce_image(image).copy()).permute(2, 0, 1)[None] / 255
        disparity = model.network.disparity(pixels)[0, 0].numpy() / 192 * 1280
        np.testing.assert_allclose(model.predict_inverse_depth(image), disparity / constant, rtol=1e-5)


def test_untrained_aggregation_adds_the_features() -> None:
    module = FeatureAggregation(8, ("raw", "distilled"))
    decoded, encoded = torch.rand(2, 8, 4, 6), torch.rand(2, 8, 8, 12)
    enlarged = nn.functional.interpolate(decoded, size=(8, 12), mode="bilinear", align_corners=True)
    for path in ("raw", "distilled"):
        assert torch.allclose(module(decoded, encoded, path), encoded + enlarged, atol=1e-5)


@pytest.mark.parametrize("module", [1, 2, 3])
def test_one_module_alone_learns_offsets_and_the_other_joins_concatenate(module: int) -> None:
    network = SDFANetConfig(levels=5, sdfa_modules=(module,)).build()
    aligned = {4 - level for level, join in enumerate(network.decoder.joins) if hasattr(join, "aggregation")}
    assert aligned == {module}
    assert offset_norms(network.eval(), blank_image()).keys() == {
        f"SDFA-{module} {what}" for what in ("decoded", "encoder, raw", "encoder, distilled")
    }


def test_a_module_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match=r"sdfa_modules: \(4,\).*joins 1 to 3"):
        SDFANetConfig(sdfa_modules=(4,)).build()


def test_distilled_offset_aggregation_has_one_set_of_offsets_and_two_outputs() -> None:
    network = SDFANetConfig(levels=5, decoder="oa-distilled").build().eval()
    assert network.paths == ("raw", "distilled")
    plain, sdfa = SDFANetConfig(levels=5, decoder="oa").build(), SDFANetConfig(levels=5).build()
    output = parameters(sdfa.decoder.outputs["raw"])
    assert parameters(network) == parameters(plain) + output
    network.decoder.outputs["distilled"].load_state_dict(network.decoder.outputs["raw"].state_dict())
    with torch.no_grad():
        assert torch.equal(network(blank_image(), "raw"), network(blank_image(), "distilled"))


def test_norms_of_offsets_are_those_of_the_vectors() -> None:
    network = SDFANetConfig(levels=5).build().eval()
    for level, join in enumerate(network.decoder.joins[1:], 1):
        for branch in (join.aggregation.decoded_offsets, *join.aggregation.encoder_offsets.values()):
            branch[-1] = Constant((3.0 * level, 4.0 * level))
    norms = offset_norms(network, blank_image())
    assert norms["SDFA-1 decoded"] == pytest.approx(15)
    assert norms["SDFA-2 encoder, raw"] == pytest.approx(10)
    assert norms["SDFA-3 encoder, distilled"] == pytest.approx(5)
    assert len(norms) == 9


class Constant(nn.Module):
    """The same offset everywhere, in place of a convolution."""

    def __init__(self, offset: tuple[float, float]) -> None:
        super().__init__()
        self.offset = torch.tensor(offset)[:, None, None]

    def forward(self, feature: Tensor) -> Tensor:
        return self.offset.expand(len(feature), 2, *feature.shape[-2:])


def blank_image() -> Tensor:
    return torch.full((1, 3, 64, 64), 0.5)


def test_offsets_are_pixels_to_the_right_and_down() -> None:
    grid = torch.arange(24.0).view(1, 1, 4, 6)
    right, down = (torch.zeros(1, 2, 4, 6) for _ in range(2))
    right[:, 0], down[:, 1] = 1, 0.5
    expected = REFERENCE["sampled_right_by_1_first_row"]
    assert sample_at_offsets(grid, right)[0, 0, 0].tolist() == pytest.approx(expected, abs=1e-5)
    rows = sample_at_offsets(grid, down)[0, 0]
    assert torch.allclose(rows, torch.tensor(REFERENCE["sampled_down_by_half"]), atol=1e-4)


# --- the training step -----------------------------------------------------------------------------------------


def random_pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(99)
    left, right = (torch.rand(2, 3, 64, 192, generator=generator) - 0.43 for _ in range(2))
    return left + MEAN, right + MEAN


def analytic_pair() -> tuple[Tensor, Tensor]:
    x, y, channel = torch.arange(192.0), torch.arange(64.0)[:, None], torch.arange(1.0, 4.0)[:, None, None]
    views = (0.4 * torch.sin(0.05 * channel * (x + shift) + 0.07 * y) for shift in (0, 12))
    left, right = (view.repeat(2, 1, 1, 1) + MEAN for view in views)
    return left, right


@pytest.fixture(scope="module")
def perceptual() -> PerceptualFeatures:
    features = PerceptualFeatures()
    state = {
        key: seeded_tensor(key.replace("features.", "vgg."), value.shape)
        for key, value in features.state_dict().items()
    }
    features.load_state_dict(state)
    return features


@torch.no_grad()
@pytest.mark.parametrize(("name", "pair"), [("random", random_pair), ("analytic", analytic_pair)])
def test_a_training_step_gives_the_published_values(
    imported: SDFANet, perceptual: PerceptualFeatures, name: str, pair: object
) -> None:
    left, right = pair()
    features = imported.encode(left)
    raw_logits = imported.decode(features, (64, 192), "raw")
    distilled_logits = imported.decode(features, (64, 192), "distilled", mirror=True)
    raw, distilled = (expected_disparity(logits, imported.levels) for logits in (raw_logits, distilled_logits))
    synthesised = synthesise_other_view(left, raw_logits, imported.levels)
    own, others = perceptual(synthesised), perceptual(right)
    raw_view, distilled_view = reproject(right, raw), reproject(right, distilled)
    target = patch_moments(left)
    errors = [photometric_error(view.image, target)[:, None] for view in (raw_view, distilled_view)]
    good, visible = photometric_mask(*errors), visible_mask(distilled, distilled_view.inside)
    found = {
        "raw_disparity": [raw.mean().item(), raw.min().item(), raw.max().item()],
        "distilled_disparity": [distilled.mean().item(), distilled.min().item(), distilled.max().item()],
        "depths": [(400 / raw).mean().item(), (400 / distilled).mean().item()],
        # The published statistics are those of images without their mean.
        "synthesised": statistics(synthesised - MEAN)[:2],
        "reprojected": [raw_view.image.mean().item(), distilled_view.image.mean().item()],
        "visible": visible.float().mean().item(),
        "l1": (synthesised - right).abs().mean().item(),
        "perceptual": (0.01 * perceptual_distances(own, others)).tolist(),
        "raw_smoothness": 0.0008 * curvature_aware_smoothness(raw, left).item(),
        "distilled_smoothness": 0.0016 * curvature_aware_smoothness(distilled, left).item(),
        "distillation": 0.01 * distillation_loss(400 / distilled, 400 / raw, good & visible).item(),
        "photometric_share": good.float().mean().item(),
    }
    found["total"] = synthesis_loss(synthesised, right, own, others).item() + sum(
        found[term] for term in ("raw_smoothness", "distilled_smoothness", "distillation")
    )
    for key, expected in REFERENCE["step"][name].items():
        value = found[key][: len(expected)] if isinstance(expected, list) else found[key]
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-10), key


def test_every_parameter_of_a_step_gets_a_gradient() -> None:
    """The raw path's output and offsets learn from view synthesis, the distilled ones from the raw depth."""
    torch.manual_seed(0)
    network = SDFANetConfig(drop_path=0).build().train()
    for module in network.modules():
        if isinstance(module, FeatureAggregation):
            for branch in (module.decoded_offsets, *module.encoder_offsets.values()):
                nn.init.normal_(branch[-1].weight, std=0.05)
    left, right = torch.rand(2, 2, 3, 32, 64)
    features = network.encode(left)
    logits = network.decode(features, (32, 64), "raw")
    view = synthesise_other_view(left, logits, network.levels)
    (view - right).square().mean().backward(retain_graph=True)
    lacking = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert lacking == {name for name, _ in network.named_parameters() if "distilled" in name}
    raw = expected_disparity(logits, network.levels).detach()
    distilled = expected_disparity(network.decode(features, (32, 64), "distilled", mirror=True), network.levels)
    distillation_loss(1 / distilled, 1 / raw, torch.ones_like(raw, dtype=torch.bool)).backward()
    unreached = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert unreached == []


@torch.no_grad()
def test_the_mirrored_path_is_the_plain_one_of_mirrored_features(imported: SDFANet, image: Tensor) -> None:
    features = imported.encode(image[:1])
    plain = imported.decode([feature.flip(-1) for feature in features], (64, 192), "distilled")
    assert torch.equal(imported.decode(features, (64, 192), "distilled", mirror=True), plain.flip(-1))


# --- weights of others -----------------------------------------------------------------------------------------


def test_imagenet_weights_of_the_swin_project_are_read(tmp_path: Path) -> None:
    classifier = {"norm.weight": ((768,), "float32"), "head.weight": ((1000, 768), "float32")}
    keys = {key.removeprefix("0."): entry for key, entry in KEYS.items() if key.startswith("0.layers")}
    keys |= {key.removeprefix("0."): entry for key, entry in KEYS.items() if key.startswith("0.patch_embed")}
    torch.save({"model": seeded_state(keys | classifier)}, tmp_path / "swin.pth")
    encoder = SwinEncoder()
    norms = [norm.weight.clone() for norm in encoder.norms]
    encoder.load_pretrained(str(tmp_path / "swin.pth"))
    name = sdfa_net_place("")
    for key, tensor in encoder.state_dict().items():
        if not key.startswith("norms."):
            theirs = name(f"encoder.{key}")[1].removeprefix("0.")
            assert torch.equal(tensor, seeded_tensor(theirs, tensor.shape)), key
    assert all(torch.equal(norm.weight, before) for norm, before in zip(encoder.norms, norms, strict=True))


def test_imagenet_weights_of_timm_are_read(imported: SDFANet, tmp_path: Path) -> None:
    encoder, other = imported.encoder, SwinEncoder()
    torch.save(encoder.state_dict(), tmp_path / "timm.pth")
    other.load_pretrained(str(tmp_path / "timm.pth"))
    loaded = other.state_dict()
    unread = [key for key, tensor in encoder.state_dict().items() if not torch.equal(tensor, loaded[key])]
    # A classifier has no normalisation behind its stages.
    assert unread == [f"norms.{place}.{kind}" for place in range(4) for kind in ("weight", "bias")]


def test_weights_of_another_architecture_are_refused_with_the_tensor_named(tmp_path: Path) -> None:
    torch.save({"model": {"conv1.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    encoder = without_storage().encoder
    with pytest.raises(UserError, match=r"no tensor for 'patch_embed\.proj\.weight'"):
        encoder.load_pretrained(str(tmp_path / "other.pth"))


def test_a_folder_with_several_checkpoints_is_refused(published: Path, tmp_path: Path) -> None:
    for name in ("first.pth", "second.pth"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"first\.pth, second\.pth"):
        only_checkpoint(tmp_path)


# --- perceptual features ---------------------------------------------------------------------------------------


def test_perceptual_features_are_frozen_and_let_gradients_through(perceptual: PerceptualFeatures) -> None:
    image = torch.rand(1, 3, 32, 64, requires_grad=True)
    features = perceptual(image)
    assert [feature.shape[1:] for feature in features] == [(64, 16, 32), (128, 8, 16), (256, 4, 8)]
    sum(feature.sum() for feature in features).backward()
    assert image.grad.any()
    assert not any(parameter.requires_grad for parameter in perceptual.parameters())


def test_random_perceptual_features_warn() -> None:
    with pytest.warns(UserWarning, match="random features"):
        PerceptualFeatures().load_pretrained("none")


def test_perceptual_weights_are_read_from_torchvision_s_file(perceptual: PerceptualFeatures, tmp_path: Path) -> None:
    torch.save(perceptual.state_dict() | {"classifier.0.bias": torch.zeros(4096)}, tmp_path / "vgg19.pth")
    other = PerceptualFeatures()
    other.load_pretrained(str(tmp_path / "vgg19.pth"))
    for key, tensor in perceptual.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor)
