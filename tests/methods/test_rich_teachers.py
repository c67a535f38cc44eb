from dataclasses import replace

import pytest
import torch

from egodepth.data.transforms import Views, mirrored, without_augmentation
from egodepth.errors import UserError
from egodepth.methods.rich_teachers import MatchingTeacher, SingleImageTeacher
from egodepth.networks.configurations import (
    ManyDepthConfig,
    Monodepth2Config,
    PoseConfig,
    SDFANetConfig,
    SmallDepthConfig,
)
from tests.methods.batches import random_batch

SMALL = SmallDepthConfig(widths=(16, 16, 32, 32, 32), middles=(16, 32, 32, 32), repeats=(1, 1, 1, 1), pb_dsr=0, pb_sd=0)
RICH = (96, 160)


def views() -> Views:
    return without_augmentation(random_batch(RICH, (-1, 1)))


def many_depth(helper: bool = False, lookups: tuple[int, ...] = (-1, 1)) -> MatchingTeacher:
    torch.manual_seed(0)
    alone = Monodepth2Config().build() if helper else None
    return MatchingTeacher(ManyDepthConfig(bins=8).build(), PoseConfig().build(), lookups, alone)


def test_many_depth_teaches_with_the_frames_around():
    teacher, seen = many_depth(), views()
    reading = teacher.read(seen)
    assert teacher.sources == (-1, 1)
    assert reading.depth.shape == (2, 1, *RICH)
    assert reading.feature.shape == (2, 64, 24, 40)
    torch.testing.assert_close(teacher.pseudo_depth(seen), reading.depth)
    other = replace(seen, sources=seen.sources.flip(-1))
    assert not torch.allclose(teacher.read(other).feature, reading.feature)
    assert many_depth(lookups=(-2,)).sources == (-2, -1)


def test_many_depth_s_own_single_frame_network_says_where_it_is_reliable():
    teacher, seen = many_depth(helper=True), views()
    alone = teacher.helper.predict_depth(seen.target)
    assert teacher.reliable(seen, 1.2 * alone).all()
    assert not teacher.reliable(seen, 1.3 * alone).any()
    assert not teacher.reliable(seen, alone / 1.3).any()
    with pytest.raises(UserError, match="no single-frame network"):
        many_depth().reliable(seen, alone)
    assert teacher.hash() == MatchingTeacher(teacher.network, teacher.pose_network).hash()
    assert teacher.hash() != many_depth_with_other_poses(teacher).hash()


def many_depth_with_other_poses(teacher: MatchingTeacher) -> MatchingTeacher:
    torch.manual_seed(9)
    return MatchingTeacher(teacher.network, PoseConfig().build())


@pytest.mark.parametrize(
    "config", [Monodepth2Config(), SMALL, SDFANetConfig(encoder="resnet18")], ids=["m", "s", "sdfa"]
)
def test_any_depth_network_can_teach(config):
    torch.manual_seed(0)
    teacher, seen = SingleImageTeacher(config.build()), views()
    reading = teacher.read(seen)
    assert reading.feature.shape[-2:] == (24, 40)
    torch.testing.assert_close(reading.depth, teacher.pseudo_depth(seen), rtol=1e-4, atol=1e-4)
    assert reading.depth.shape == (2, 1, *RICH)
    turned = teacher.pseudo_depth(mirrored(seen))
    assert turned.shape == reading.depth.shape
    with pytest.raises(UserError, match="no second opinion"):
        teacher.reliable(seen, reading.depth)


def test_a_teacher_without_features_is_refused():
    with pytest.raises(UserError, match="shows no features"):
        SingleImageTeacher(torch.nn.Conv2d(3, 1, 1))
