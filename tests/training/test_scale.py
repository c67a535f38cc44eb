"""Metres from poses: the true distance moved over the one that a pose network finds."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from egodepth.data.images import read_image
from egodepth.data.kitti.poses import read_poses
from egodepth.data.samples import PosedDataset, Sample, TrainingDataset
from egodepth.errors import UserError
from egodepth.geometry.scale import Scale
from egodepth.training.scale import motion_by_depth, motion_by_pose_network, scale_of_motion, scale_of_posed_samples
from tests.scaling.exact_model import HEIGHT, METRES_PER_UNIT, WIDTH, ExactDepth

INTRINSICS = torch.tensor([[0.58, 0, 0.5], [0, 1.92, 0.5], [0, 0, 1]])


# --- the median ---


def test_metres_per_unit_is_the_true_distance_over_the_found_one():
    found = torch.rand(50, generator=torch.Generator().manual_seed(0)) + 0.1
    assert scale_of_motion(31.7 * found, found) == pytest.approx(31.7)


def test_a_few_wrong_motions_do_not_count():
    moved, found = torch.ones(9), torch.full((9,), 0.1)
    found[:4] = torch.tensor([1e-6, 50.0, 3.0, 1e-3])
    assert scale_of_motion(moved, found) == pytest.approx(10)


def test_an_even_number_of_motions_has_the_mean_of_the_middle_two():
    assert scale_of_motion(torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.ones(4)) == pytest.approx(3)


def test_a_camera_that_stands_says_nothing():
    moved, found = torch.tensor([0.0, 0.01, 0.19, 1.0]), torch.tensor([0.3, 0.4, 0.5, 0.1])
    assert scale_of_motion(moved, found) == pytest.approx(10)
    assert scale_of_motion(moved[:3], found[:3]) is None


def test_a_network_that_sees_no_motion_has_no_scale():
    assert scale_of_motion(torch.ones(3), torch.zeros(3)) is None
    assert scale_of_motion(torch.zeros(0), torch.zeros(0)) is None


# --- from a data set and a network ---


class Road:
    """A road on which the grey of the picture is the place: frame n is at `places[n]` steps, a step is 2.5 m."""

    STEP_M = 2.5

    def __init__(self, places: Sequence[int], source_ids: Sequence[int] = (-1, 1), broken: Sequence[int] = ()) -> None:
        self.places, self.source_ids, self.broken = places, tuple(source_ids), broken
        self.asked: list[int] = []
        self._reach = max(map(abs, source_ids))

    def __len__(self) -> int:
        return len(self.places) - 2 * self._reach

    def sample_names(self) -> Iterator[str]:
        return map(str, range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        self.asked.append(index)
        if index in self.broken:
            raise UserError(f"frame {index}: is broken. Fetch it again.")
        target, *sources = (self._picture(index + self._reach + source) for source in (0, *self.source_ids))
        return Sample(str(index), target, torch.stack(sources), INTRINSICS)

    def moved_m(self, index: int) -> tuple[float, ...]:
        here = self.places[index + self._reach]
        return tuple(abs(self.places[index + self._reach + source] - here) * self.STEP_M for source in self.source_ids)

    def _picture(self, frame: int) -> Tensor:
        return torch.full((3, 32, 64), self.places[frame], dtype=torch.uint8)


class GreyPose(nn.Module):
    """Takes the difference of two pictures' greys for the motion along z, in units of training."""

    def __init__(self, unit_per_step: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(255 * unit_per_step))
        self.norm = nn.BatchNorm2d(6)
        self.sizes: set[tuple[int, ...]] = set()
        self.order: list[float] = []

    def forward(self, earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        self.norm(torch.cat([earlier, later], dim=1))
        self.sizes.add(tuple(earlier.shape))
        forward = (later - earlier).mean((1, 2, 3)) * self.factor
        self.order.append(float(forward))
        motion = torch.stack([torch.zeros_like(forward), torch.zeros_like(forward), forward], dim=1)
        return torch.zeros(len(motion), 2, 3), motion[:, None].repeat(1, 2, 1)


def by_pose_network(network: nn.Module, *places, **options) -> Scale | None:
    return scale_of_posed_samples(network, motion_by_pose_network, *places, **options)


def test_the_scale_of_a_planted_network_is_found_in_the_size_that_it_sees():
    network, road = GreyPose(unit_per_step=0.04), Road(range(40))
    scale = by_pose_network(network, road, 64, 96)
    assert scale == Scale(pytest.approx(2.5 / 0.04, rel=1e-4), "poses")
    assert network.sizes == {(1, 3, 64, 96)}


def test_a_pose_network_sees_the_earlier_picture_first():
    network = GreyPose(0.04)
    by_pose_network(network, Road(range(10)), 32, 64)
    assert network.order
    assert min(network.order) > 0


def test_frames_further_away_than_one_do_not_count():
    # From two steps away this road looks as if it stood still.
    road = Road([0, 10] * 10, source_ids=(-2, -1, 1, 2))
    assert by_pose_network(GreyPose(0.04), road, 32, 64).metres_per_unit == pytest.approx(2.5 / 0.04, rel=1e-4)


def test_the_samples_are_spread_over_the_training_set():
    road = Road(range(102))
    by_pose_network(GreyPose(0.04), road, 32, 64, samples=4)
    assert road.asked == [0, 25, 50, 75]
    short = Road(range(5))
    by_pose_network(GreyPose(0.04), short, 32, 64, samples=4)
    assert short.asked == [0, 1, 2]


def test_broken_frames_are_passed_over():
    road = Road(range(12), broken=(0, 1, 5))
    assert by_pose_network(GreyPose(0.1), road, 32, 64).metres_per_unit == pytest.approx(25, rel=1e-4)
    assert by_pose_network(GreyPose(0.1), Road(range(4), broken=(0, 1)), 32, 64) is None


def test_a_road_that_was_never_driven_has_no_scale():
    assert by_pose_network(GreyPose(0.1), Road([7] * 12), 32, 64) is None


def test_a_network_in_training_is_left_as_it_was():
    network = GreyPose(0.1).train()
    network.norm.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    by_pose_network(network, Road(range(9)), 32, 64)
    assert network.training
    assert not network.norm.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


class DrivenStreet(Road):
    """The frames of a simulated drive, and the ways between them."""

    def __init__(self, home: Path) -> None:
        self.files = sorted(home.glob("image_02/data/*.png"))
        self.ends = read_poses(home / "poses.txt")[:, :3, 3]
        super().__init__(range(len(self.files)))

    def moved_m(self, index: int) -> tuple[float, ...]:
        here = index + self._reach
        return tuple(float(np.linalg.norm(self.ends[here + source] - self.ends[here])) for source in self.source_ids)

    def _picture(self, frame: int) -> Tensor:
        return torch.from_numpy(read_image(self.files[frame]).copy()).permute(2, 0, 1)


def test_depth_says_how_far_the_camera_went(drive):
    home = next(drive.glob("*/*_drive_0001_sync"))
    scale = scale_of_posed_samples(ExactDepth(home), motion_by_depth, DrivenStreet(home), HEIGHT, WIDTH)
    assert scale.metres_per_unit == pytest.approx(METRES_PER_UNIT, rel=0.02)


def test_only_data_with_poses_offer_them():
    class Unposed:
        source_ids = (-1, 1)

        def __len__(self) -> int:
            return 0

        def __getitem__(self, index: int) -> Sample:
            raise IndexError

    known: TrainingDataset = Road(range(3))
    assert isinstance(known, PosedDataset)
    assert not isinstance(Unposed(), PosedDataset)
