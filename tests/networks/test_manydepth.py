"""ManyDepth's multi-frame network: counts, parity with seeded weights through the import, and its ways of use."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from egodepth.errors import UserError
from egodepth.geometry.depth import sigmoid_to_depth
from egodepth.geometry.poses import pose_to_transform
from egodepth.networks.complexity import ShapesAlone
from egodepth.networks.configurations import ManyDepthConfig, Monodepth2Config, PoseConfig
from egodepth.networks.disparity import start_far
from egodepth.networks.manydepth import Lookups, ManyDepth, MultiFrameDepth, look_up
from egodepth.networks.pretrained import (
    import_weights,
    manydepth_place,
    manydepth_teacher_place,
    monodepth2_pose_place,
)
from tests.losses.test_multi_frame import matching_inputs
from tests.seeded_weights import write_seeded_checkpoints

REFERENCES = Path(__file__).parents[1] / "reference"
REFERENCE = json.loads((REFERENCES / "manydepth.json").read_text())
KEY_LIST = json.loads((REFERENCES / "manydepth-keys.json").read_text())
MEND = "Choose the recipe."
SIZES = [(192, 640), (320, 1024)]


def known(transforms: torch.Tensor) -> torch.Tensor:
    """The published interface marks a missing frame by a transform of zeros."""
    return (transforms != 0).flatten(-2).any(-1)


@functools.cache
def without_storage(encoder: str = ManyDepthConfig.encoder) -> ManyDepth:
    """On the meta device: layers and shapes without values, which is all that counting needs."""
    with torch.device("meta"):
        return ManyDepthConfig(encoder).build().eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def default_intrinsics(batch: int, height: int, width: int) -> Tensor:
    matrix = torch.tensor([[0.58 * width, 0, 0.5 * width], [0, 1.92 * height, 0.5 * height], [0, 0, 1]])
    return matrix.repeat(batch, 1, 1)


def empty_lookups(height: int, width: int) -> Lookups:
    """One lookup frame without values."""
    return Lookups(
        torch.empty(1, 1, 3, height, width, device="meta"),
        torch.empty(1, 1, 4, 4, device="meta"),
        torch.empty(1, 1, dtype=torch.bool, device="meta"),
        torch.empty(1, 3, 3, device="meta"),
    )


def random_scene(batch: int, count: int, height: int = 64, width: int = 96) -> tuple[Tensor, Lookups]:
    """An image and lookup frames at small motions, of noise."""
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(batch, 3, height, width, generator=generator)
    images = torch.rand(batch, count, 3, height, width, generator=generator)
    motion = 0.1 * (torch.rand(batch * count, 6, generator=generator) - 0.5)
    transforms = pose_to_transform(motion[:, :3] / 4, motion[:, 3:]).unflatten(0, (batch, count))
    valid = torch.ones(batch, count, dtype=torch.bool)
    return image, Lookups(images, transforms, valid, default_intrinsics(batch, height, width))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authors' six files with seeded values, and the plain entries that they store beside."""
    folder = tmp_path_factory.mktemp("KITTI_MR")
    write_seeded_checkpoints(folder, KEY_LIST)
    encoder = torch.load(folder / "encoder.pth", weights_only=True)
    nearest, farthest = map(float, REFERENCE["seeded_range"])
    entries = {"height": 192, "width": 640, "min_depth_bin": nearest, "max_depth_bin": farthest}
    torch.save(encoder | entries, folder / "encoder.pth")
    return folder


@pytest.fixture(scope="module")
def imported(published: Path) -> ManyDepth:
    network = ManyDepthConfig().build().eval()
    import_weights(network, manydepth_place, published, MEND)
    return network


@pytest.fixture(scope="module")
def scene() -> tuple[Tensor, Lookups]:
    generator = torch.Generator().manual_seed(1234)
    image = torch.rand(2, 3, 64, 192, generator=generator)
    images = torch.rand(2, 1, 3, 64, 192, generator=generator)
    axis_angle = torch.tensor(REFERENCE["seeded_axis_angle"], dtype=torch.float32)
    translation = torch.tensor(REFERENCE["seeded_translation"], dtype=torch.float32)
    transforms = pose_to_transform(axis_angle, translation, invert=True)[:, None]
    return image, Lookups(images, transforms, known(transforms), default_intrinsics(2, 64, 192))


def close(expected: float | list[float], tolerance: float = 2e-6) -> object:
    return pytest.approx(expected, abs=tolerance)


# --- counts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
def test_each_part_has_its_published_count_but_for_the_layer_that_is_never_called(encoder: str) -> None:
    network, expected = without_storage(encoder), REFERENCE["parameters"][encoder]
    never_called, body = expected["prematching_conv"], network.encoder.body
    assert parameters(network.encoder) + never_called == expected["encoder"]
    assert parameters(network.decoder) == expected["decoder"]
    assert parameters(network) + never_called == expected["total"]
    assert parameters(network.encoder.reduce) == expected["reduce_conv"]
    assert parameters(body.conv1) + parameters(body.bn1) == expected["layer0"]
    layers = [f"layer{place}" for place in range(1, 5)]
    assert {name: parameters(getattr(body, name)) for name in layers} == {name: expected[name] for name in layers}
    assert not [name for name, parameter in network.named_parameters() if not parameter.requires_grad]


def test_the_published_count_with_grids_follows_from_the_size() -> None:
    for encoder in ("resnet18", "resnet50"):
        network, never_called = without_storage(encoder), REFERENCE["parameters"][encoder]["prematching_conv"]
        for height, width in SIZES:
            cells = (height // 4) * (width // 4)
            grids = cells * (2 + network.encoder.bins * (1 + 3))
            assert grids == REFERENCE["grids"][f"{height}x{width}"]
            total = parameters(network.encoder) + never_called + grids
            if encoder == "resnet18":
                assert total == REFERENCE["encoder_with_grids"][f"{height}x{width}"]
            elif height == 192:
                assert total == REFERENCE["resnet50_encoder_with_grids"]


def test_teacher_and_pose_network_have_their_published_counts_but_for_the_classifier() -> None:
    classifier = REFERENCE["classifier_parameters"]
    with torch.device("meta"):
        teacher, pose = Monodepth2Config().build(), PoseConfig().build()
    assert parameters(teacher) + classifier == REFERENCE["teacher_parameters"]
    assert parameters(pose) + classifier == REFERENCE["pose_parameters"]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_work_is_the_published_number_of_macs_and_less_of_it_is_geometry(height: int, width: int) -> None:
    network, expected = without_storage(), REFERENCE["macs"][f"{height}x{width}"]
    image, lookups = torch.empty(1, 3, height, width, device="meta"), empty_lookups(height, width)

    with ShapesAlone(), FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image, lookups)
    total, encoder = (dict(counter.get_flop_counts()[part]) for part in ("ManyDepth", "ManyDepth.encoder"))
    convolutions, of_encoder = (counts.pop(torch.ops.aten.convolution) // 2 for counts in (total, encoder))
    assert of_encoder == expected["encoder"] - expected["geometry"]
    assert convolutions - of_encoder == expected["decoder"]
    assert convolutions == expected["total"] - expected["geometry"]
    assert 0 < sum(total.values()) // 2 < expected["geometry"]
    assert expected["total"] + expected["pose"] == expected["all"]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_features_have_the_published_shapes(height: int, width: int) -> None:
    network = without_storage()
    image = torch.empty(1, 3, height, width, device="meta")
    disparities, features = network.with_features(image, empty_lookups(height, width))
    expected = REFERENCE["feature_shapes"][f"{height}x{width}"]
    assert [list(feature.shape[1:]) for feature in features.encoder] == expected
    assert features.fused.shape == (1, *expected[1])
    assert features.lowest_cost_depth.shape == features.confidence.shape == (1, 1, height // 4, width // 4)
    assert [disparity.shape for disparity in disparities] == [
        (1, 1, height >> scale, width >> scale) for scale in range(4)
    ]


# --- values ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_imported_weights_give_the_published_cost_volume(imported: ManyDepth, scene: tuple[Tensor, Lookups]) -> None:
    volume, expected = imported.encoder(*scene).volume, REFERENCE["seeded_volume"]
    assert volume.cost.shape == (2, 96, 16, 48)
    found = {"mean": volume.cost.mean(), "deviation": volume.cost.std(correction=0), "max": volume.cost.max()}
    found |= {place: volume.cost[tuple(json.loads(place))] for place in expected if place.startswith("[")}
    assert {name: float(value) for name, value in found.items()} == close(expected, 5e-6)
    assert volume.confidence.sum((1, 2, 3)).tolist() == REFERENCE["seeded_confident"]
    lowest = 1 / volume.lowest_cost_depth
    statistics = [lowest.mean(), lowest.std(correction=0), lowest.min(), lowest.max()]
    assert [float(value) for value in statistics] == close(REFERENCE["seeded_lowest_cost"])


@torch.no_grad()
def test_the_published_share_of_cells_is_missing(imported: ManyDepth, scene: tuple[Tensor, Lookups]) -> None:
    """All but one of the cells that hold a pixel's largest cost were filled with it."""
    cost = imported.encoder(*scene).volume.cost
    largest = cost.amax(1, keepdim=True)
    missing = (cost == largest).sum(1, keepdim=True) - (largest > 0).int()
    assert float(missing.sum() / cost.numel()) == close(REFERENCE["seeded_missing_share"])


@torch.no_grad()
def test_imported_weights_give_the_published_features_and_disparities(
    imported: ManyDepth, scene: tuple[Tensor, Lookups]
) -> None:
    disparities, features = imported.with_features(*scene)
    assert [float(feature.mean()) for feature in features.encoder] == close(REFERENCE["seeded_features"])
    assert [float(disparity.mean()) for disparity in disparities] == close(REFERENCE["seeded_disparities"])
    finest = [disparities[0].std(correction=0), disparities[0].min(), disparities[0].max()]
    assert [float(value) for value in finest] == close(REFERENCE["seeded_finest"])
    assert torch.equal(imported.finest(*scene), disparities[0])
    assert torch.equal(imported.predict_depth(*scene), sigmoid_to_depth(disparities[0]))


@torch.no_grad()
@pytest.mark.parametrize("way", ["zero poses", "flags", "one image"])
def test_without_lookup_frames_the_published_fallback_runs(
    way: str, imported: ManyDepth, scene: tuple[Tensor, Lookups]
) -> None:
    image, given = scene
    zeros, intrinsics = torch.zeros_like(given.images), given.intrinsics
    no_poses = torch.zeros_like(given.transforms)
    lookups = {
        "zero poses": Lookups(zeros, no_poses, known(no_poses), intrinsics),
        "flags": Lookups(given.images, given.transforms, torch.zeros_like(given.valid), intrinsics),
        "one image": None,
    }[way]
    disparities, features = imported.with_features(image, lookups)
    assert [float(disparity.mean()) for disparity in disparities] == close(REFERENCE["unmatched_disparities"])
    assert (features.lowest_cost_depth == 1 / REFERENCE["unmatched_lowest_cost"]).all()
    assert not features.confidence.any()
    assert torch.equal(imported.predict_depth(image), sigmoid_to_depth(disparities[0]))


@torch.no_grad()
def test_one_sample_may_lack_the_frame_that_another_has(imported: ManyDepth, scene: tuple[Tensor, Lookups]) -> None:
    image, given = scene
    mixed = Lookups(given.images, given.transforms, torch.tensor([[True], [False]]), given.intrinsics)
    both, none = imported(image, given)[0], imported(image)[0]
    torch.testing.assert_close(imported(image, mixed)[0], torch.stack([both[0], none[1]]), rtol=0, atol=1e-6)


# --- the range of the hypotheses -------------------------------------------------------------------------------


def test_the_range_starts_as_published_and_follows_the_teacher_slowly() -> None:
    network = ManyDepthConfig().build()
    assert network.encoder.depths()[[0, -1]].tolist() == pytest.approx([0.1, 10])
    network.update_bins(sigmoid_to_depth(matching_inputs().teacher[0]))
    found = [float(network.encoder.min_depth_bin), float(network.encoder.max_depth_bin)]
    assert found == close(REFERENCE["tracker_after_one_update"])


def test_the_range_settles_where_the_teacher_sees_depths() -> None:
    network = ManyDepthConfig().build()
    depth = torch.full((2, 1, 4, 4), 3.0)
    depth[0, 0, 0, 0], depth[1, 0, 0, 0] = 2, 50
    for _ in range(2000):
        network.update_bins(depth)
    depths = network.encoder.depths()
    # Items have minima 2 and 3, maxima 3 and 50.
    assert depths[[0, -1]].tolist() == pytest.approx([0.9 * 2.5, 1.1 * 26.5], rel=1e-3)


@pytest.fixture(scope="module")
def deployed() -> tuple[ManyDepth, nn.Module]:
    """A network that matches, and a pose network, both with random weights; heads that say something."""
    torch.manual_seed(0)
    network = ManyDepthConfig(encoder="resnet10t", bins=8).build().eval()
    start_far(network)
    for head in network.decoder.heads:
        nn.init.normal_(head.weight)
    return network, PoseConfig("resnet10t").build().eval()


@pytest.mark.parametrize("lookups", [(-1,), (-1, 1), (-2, -1)])
def test_in_use_it_matches_with_the_frames_that_it_was_trained_to_look_up(
    deployed: tuple[ManyDepth, nn.Module], lookups: tuple[int, ...]
) -> None:
    network, pose_network = deployed
    in_use = MultiFrameDepth(network, pose_network, torch.tensor([[0.6, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]), lookups)
    assert in_use.time_offsets == lookups
    image, *others = torch.rand(1 + len(lookups), 2, 3, 64, 96)
    intrinsics = torch.tensor([[57.6, 0, 48], [0, 57.6, 32], [0, 0, 1]]).expand(2, 3, 3)
    found = look_up(pose_network, image, dict(zip(lookups, others, strict=True)), lookups, intrinsics)
    with torch.no_grad():
        expected = network.predict_depth(image, found)
        torch.testing.assert_close(in_use.predict_depth(torch.cat([image, *others], dim=1)), expected)
        # Without any of them it is a network of one frame.
        black = torch.zeros_like(image)
        alone = in_use.predict_depth(torch.cat([image, *[black] * len(others)], dim=1))
        torch.testing.assert_close(alone, network.predict_depth(image))
    assert not torch.allclose(alone, expected, rtol=1e-3)


def test_a_frame_beyond_a_missing_one_is_not_matched_with(deployed: tuple[ManyDepth, nn.Module]) -> None:
    network, pose_network = deployed
    in_use = MultiFrameDepth(network, pose_network, torch.tensor([[0.6, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]), (-2,))
    assert in_use.time_offsets == (-2, -1)
    image, far = torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        found = in_use.predict_depth(torch.cat([image, far, torch.zeros_like(image)], dim=1))
        torch.testing.assert_close(found, network.predict_depth(image))


def test_from_a_single_frame_network_it_starts_as_that_function(scene: tuple[Tensor, Lookups]) -> None:
    torch.manual_seed(0)
    single = Monodepth2Config(encoder="resnet10t").build().eval()
    network = ManyDepthConfig(encoder="resnet10t").build().eval()
    network.load_first_weights(single.state_dict(), "here")
    image, lookups = scene
    with torch.no_grad():
        for found, expected in zip(network(image, lookups), single(image), strict=True):
            assert torch.equal(found, expected)
    # And what the matching says can be learnt from there.
    network(image, lookups)[0].mean().backward()
    assert network.encoder.reduce.weight.grad[:, -96:].abs().max() > 0


def test_from_a_network_of_its_kind_it_starts_with_all_that_it_had_learnt() -> None:
    torch.manual_seed(0)
    trained, network = (ManyDepthConfig(encoder="resnet10t").build() for _ in range(2))
    trained.update_bins(torch.full((1, 1, 4, 4), 30.0))
    network.load_first_weights(trained.state_dict(), "here")
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in trained.state_dict().items())


def test_weights_of_another_encoder_are_no_start() -> None:
    state = Monodepth2Config(encoder="resnet14t").build().state_dict()
    with pytest.raises(UserError, match="Monodepth2 with the same encoder"):
        ManyDepthConfig(encoder="resnet10t").build().load_first_weights(state, "RUN")


def test_the_range_is_kept_with_the_weights() -> None:
    network, other = ManyDepthConfig().build(), ManyDepthConfig().build()
    network.update_bins(torch.full((1, 1, 2, 2), 40.0))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.encoder.depths(), network.encoder.depths())
    assert float(other.encoder.max_depth_bin) > 10.3


# --- training --------------------------------------------------------------------------------------------------


def test_gradients_reach_every_parameter_from_past_and_future() -> None:
    torch.manual_seed(0)
    network = ManyDepthConfig(bins=16).build().train()
    for norm in network.modules():  # timm starts the last norm of each block at zero, which hides the block
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1)
    image, lookups = random_scene(2, 2)
    lookups.images.requires_grad_(), lookups.transforms.requires_grad_()
    disparities, features = network.with_features(image, lookups)
    assert features.confidence.any()
    sum((disparity * torch.rand_like(disparity)).sum() for disparity in disparities).backward()
    assert [name for name, parameter in network.named_parameters() if not parameter.grad.any()] == []
    assert network.encoder.reduce.weight.grad[:, 64:].any()
    assert lookups.images.grad is None
    assert lookups.transforms.grad is None


def test_lookup_frames_count_in_the_statistics_of_training_alone() -> None:
    torch.manual_seed(0)
    network = ManyDepthConfig(bins=16).build()
    image, lookups = random_scene(2, 2)
    shallow, deep = network.encoder.body.bn1, network.encoder.body.layer2[0].bn1
    network.eval()(image, lookups)
    assert (int(shallow.num_batches_tracked), int(deep.num_batches_tracked)) == (0, 0)
    network.train()(image, lookups)
    assert (int(shallow.num_batches_tracked), int(deep.num_batches_tracked)) == (2, 1)


@pytest.mark.parametrize("options", [{"bin_spacing": "inverse"}, {"encoder": "resnet50"}, {"bins": 7}])
def test_other_configurations_run(options: Mapping[str, object]) -> None:
    network = ManyDepthConfig(**options).build().eval()
    image, lookups = random_scene(1, 1, 64, 64)
    with torch.no_grad():
        disparities, features = network.with_features(image, lookups)
    assert disparities[0].shape == (1, 1, 64, 64)
    assert features.fused.shape[1] == network.encoder.channels[1]
    assert torch.isin(features.lowest_cost_depth, network.encoder.depths()).all()


@pytest.mark.parametrize(
    ("options", "complaint"), [({"encoder": "tf_efficientnet_lite0"}, "no ResNet"), ({"bins": 1}, "at least 2")]
)
def test_a_configuration_that_cannot_match_is_refused(options: Mapping[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        ManyDepthConfig(**options).build()


class WithLookups(nn.Module):
    """The encoder with tensors for arguments, as an exported graph takes them."""

    def __init__(self, network: ManyDepth) -> None:
        super().__init__()
        self.encoder = network.encoder

    def forward(self, image: Tensor, images: Tensor, transforms: Tensor, valid: Tensor, intrinsics: Tensor) -> Tensor:
        return self.encoder(image, Lookups(images, transforms, valid, intrinsics)).fused


def test_an_exported_graph_takes_any_batch_and_any_flags() -> None:
    torch.manual_seed(0)
    encoder = WithLookups(ManyDepthConfig(encoder="test_resnet", bins=8).build().eval())

    def arguments(batch: int) -> tuple[Tensor, ...]:
        image, lookups = random_scene(batch, 2)
        return image, lookups.images, lookups.transforms, lookups.valid, lookups.intrinsics

    names = ("image", "images", "transforms", "valid", "intrinsics")
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        graph = torch.export.export(encoder, arguments(2), dynamic_shapes={name: {0: batch} for name in names})
        inputs = arguments(3)
        inputs[3][0, 1] = inputs[3][2] = False
        torch.testing.assert_close(graph.module()(*inputs), encoder(*inputs))
    assert "linalg" not in graph.graph_module.code  # ONNX has no inverse of a matrix


# --- weights of others -----------------------------------------------------------------------------------------


def test_an_import_takes_every_tensor_and_the_range(published: Path) -> None:
    network = ManyDepthConfig().build()
    taken = import_weights(network, manydepth_place, published, MEND)
    assert taken.unused == ()
    assert (taken.entries["height"], taken.entries["width"]) == (192, 640)
    assert network.encoder.depths()[[0, -1]].tolist() == REFERENCE["seeded_range"]


def test_teacher_and_pose_network_are_imported_beside(published: Path) -> None:
    teacher, pose = Monodepth2Config().build(), PoseConfig().build()
    assert import_weights(teacher, manydepth_teacher_place, published, MEND).unused == ()
    assert import_weights(pose, monodepth2_pose_place, published, MEND).unused == ()
    stored = torch.load(published / "mono_depth.pth", weights_only=True)
    assert torch.equal(teacher.state_dict()["decoder.heads.0.weight"], stored["decoder.10.conv.weight"])


def test_weights_without_a_range_are_refused_with_its_name(published: Path, tmp_path: Path) -> None:
    (tmp_path / "depth.pth").symlink_to(published / "depth.pth")
    encoder = torch.load(published / "encoder.pth", weights_only=True)
    torch.save({key: value for key, value in encoder.items() if key != "max_depth_bin"}, tmp_path / "encoder.pth")
    with pytest.raises(UserError, match=r"encoder\.max_depth_bin.*Choose the recipe"):
        import_weights(ManyDepthConfig().build(), manydepth_place, tmp_path, MEND)


def test_imagenet_weights_start_the_stem_and_the_layers(tmp_path: Path) -> None:
    torch.manual_seed(1)
    classifier = timm.create_model("resnet18", pretrained=False).state_dict()
    torch.save(classifier, tmp_path / "resnet18.pth")
    encoder = ManyDepthConfig().build().encoder
    encoder.load_pretrained(str(tmp_path / "resnet18.pth"))
    loaded = encoder.body.state_dict()
    assert [key for key, tensor in loaded.items() if not torch.equal(tensor, classifier[key])] == []
