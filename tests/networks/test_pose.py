"""The pose network over FBNetV3: counts, the face of every pose network, and its start from a classifier."""

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from egodepth.networks.complexity import ShapesAlone
from egodepth.networks.configurations import FBNetPoseConfig, PoseConfig
from egodepth.networks.pose import PoseNetwork


def without_storage(config: FBNetPoseConfig | PoseConfig) -> PoseNetwork:
    with torch.device("meta"):
        return config.build().eval()


def macs(module: nn.Module, *inputs: torch.Tensor) -> int:
    with ShapesAlone(), FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("variant", "millions", "giga_macs"), [("b", 3.64, 0.43), ("d", 5.12, 0.53), ("g", 10.71, 1.11)]
)
def test_the_trunk_has_the_counts_of_the_specification(variant, millions, giga_macs):
    name = f"fbnetv3_{variant}"
    encoder = without_storage(FBNetPoseConfig(name)).encoder
    assert round(sum(parameter.numel() for parameter in encoder.parameters()) / 1e6, 2) == millions
    # The cost is stated with the convolution that the trunk leaves out: coarsest channels to timm's last width.
    with torch.device("meta"):
        widened = timm.create_model(name, features_only=True, out_indices=(4,)).feature_info.channels()[0]
    cost = macs(encoder, torch.zeros(1, 6, 128, 416, device="meta"))
    cost += encoder.channels[4] * widened * 4 * 13
    assert cost / 1e9 == pytest.approx(giga_macs, abs=0.01)


def test_the_decoder_reads_224_channels_and_gives_one_motion():
    network = without_storage(FBNetPoseConfig())
    assert network.encoder.channels == (16, 24, 40, 120, 224)
    features = network.encoder(torch.zeros(1, 6, 128, 416, device="meta"))
    assert [feature.shape[1] for feature in features] == [16, 24, 40, 120, 224]
    assert features[4].shape[2:] == (4, 13)
    expected = (224 * 256 + 256) + 2 * (256 * 256 * 9 + 256) + (256 * 6 + 6)
    assert sum(parameter.numel() for parameter in network.decoder.parameters()) == expected


@pytest.mark.parametrize(
    ("config", "motions"),
    [
        (PoseConfig("resnet18"), 2),
        (FBNetPoseConfig("fbnetv3_b"), 1),
        (PoseConfig("fbnetv3_b"), 1),  # the encoder decides, so that --pose.encoder has the choice in every recipe
        (FBNetPoseConfig("resnet18"), 2),
    ],
)
def test_every_pose_network_gives_small_motions_that_depend_on_the_order(config, motions):
    torch.manual_seed(0)
    network = config.build()
    earlier, later = torch.rand(2, 2, 3, 64, 96)
    axis_angle, translation = network(earlier, later)
    assert axis_angle.shape == translation.shape == (2, motions, 3)
    assert 0 < axis_angle.abs().max() < 0.1
    assert not axis_angle.allclose(network(later, earlier)[0], rtol=1e-3)
    (axis_angle[:, 0].sum() + translation[:, 0].sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_classifiers_weights_start_the_trunk_and_are_halved_for_a_pair(tmp_path):
    torch.manual_seed(1)
    classifier = timm.create_model("fbnetv3_b")
    torch.save(classifier.state_dict(), tmp_path / "fbnetv3.pth")
    network = FBNetPoseConfig().build()
    network.encoder.load_pretrained(str(tmp_path / "fbnetv3.pth"))
    stem = classifier.conv_stem.weight / 2
    torch.testing.assert_close(network.encoder.body.conv_stem.weight, torch.cat([stem, stem], dim=1))
    last = "blocks.5.5.conv_pwl.weight"
    assert network.encoder.body.state_dict()[last].equal(classifier.state_dict()[last])
