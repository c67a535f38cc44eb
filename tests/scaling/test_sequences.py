"""DATA as sequences, with times, pairs and cameras; and the motion that a pose network sees in them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from egodepth.data.motion_logs.track import Track
from egodepth.errors import UserError
from egodepth.models.released import ReleasedModel
from egodepth.scaling.motion import motion_by_pose_network, ratios_in_time
from egodepth.scaling.sequences import open_sequences
from egodepth.scaling.sources import with_cameras
from tests.data.trees import write_frames, write_oxts, write_video
from tests.scaling.exact_model import write_model

SIZE = (32, 64)


def fixed(native):
    return SIZE


def opened(data, cache, intrinsics="calibrated", rate=None):
    return open_sequences(data, fixed, cache, intrinsics, rate)


def test_a_drive_alone_and_its_tree_are_sequences_of_left_frames(drive, tmp_path):
    one, two = opened(drive, tmp_path)
    assert (one.name, two.name) == ("2011_09_26_drive_0001_sync", "2011_09_26_drive_0002_sync")
    assert one.numbers == tuple(range(12))
    assert one.pairs == tuple((number, number + 1) for number in range(11))
    assert one.read(3).shape == (*SIZE, 3)
    assert one.native == (64, 192)
    assert one.seconds is None
    assert one.intrinsics[0, 0] == pytest.approx(0.58)
    [alone] = opened(next(drive.glob("*/*_drive_0002_sync")), tmp_path, rate=5)
    assert alone.frames == two.frames
    np.testing.assert_allclose(alone.seconds, np.arange(4) / 5)


def test_a_missing_frame_ends_a_pair_and_moves_no_number(drive, tmp_path):
    shutil.copytree(drive, tmp_path / "drive")
    home = next((tmp_path / "drive").glob("*/*_drive_0001_sync"))
    (home / "image_02" / "data" / "0000000004.png").unlink()
    write_oxts(home / "oxts", [(5, 0, 0)] * 12)
    [sequence] = opened(home, tmp_path / "cache")
    assert sequence.numbers[3:5] == (3, 5)
    assert (3, 4) not in sequence.pairs
    assert sequence.seconds[4] - sequence.seconds[3] == pytest.approx(0.2)
    assert sequence.oxts == home / "oxts"
    (home / "image_02" / "timestamps.txt").write_text("2011-09-26 13:00:00.000000000\n")
    with pytest.raises(UserError, match="has 1 times, but there is a frame 11"):
        opened(home, tmp_path / "cache")


def test_a_video_has_the_times_of_its_frames(tmp_path):
    [sequence] = opened(write_video(tmp_path / "drive.mp4", range(20)), tmp_path / "cache", "fov=60")
    np.testing.assert_allclose(sequence.seconds, np.arange(20) / 10, atol=1e-3)
    assert sequence.intrinsics[0, 0] == pytest.approx(0.5 / np.tan(np.radians(30)))
    # The wall slides by 3 % of the picture from each frame to the next, which is enough for a pair.
    assert sequence.pairs == tuple((place, place + 1) for place in range(19))


def test_each_video_of_a_folder_is_a_sequence(tmp_path):
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "clips" / name, range(6))
    assert [each.name for each in opened(tmp_path / "clips", tmp_path / "cache")] == ["a.mp4", "b.mp4"]


def test_frames_have_the_times_of_their_names_or_of_their_rate(tmp_path):
    frames = write_frames(tmp_path / "frames", range(6))
    [sequence] = opened(frames, tmp_path / "cache")
    assert sequence.seconds is None
    assert sequence.intrinsics is None
    assert sequence.count == 6
    [sequence] = opened(frames, tmp_path / "cache", rate=4)
    np.testing.assert_allclose(sequence.seconds, np.arange(6) / 4)
    for number in range(6):
        (frames / f"{number}.png").rename(frames / f"{1_403_636_579_000_000_000 + number * 50_000_000}.png")
    [sequence] = opened(frames, tmp_path / "cache")
    np.testing.assert_allclose(np.diff(sequence.seconds), 0.05, atol=1e-5)
    assert sequence.seconds[0] == pytest.approx(1_403_636_579)


def test_the_frames_before_and_after_are_the_ones_that_training_pairs(drive, tmp_path):
    sequence, _ = opened(drive, tmp_path)
    neighbours = sequence.neighbours(5, (-1, 2))
    assert set(neighbours) == {-1, 2}
    np.testing.assert_array_equal(neighbours[2], sequence.read(7))
    assert sequence.neighbours(0, (-1,)) == {}


def test_units_of_a_longer_lens_are_longer(drive, tmp_path):
    sequence, _ = opened(drive, tmp_path)
    longer = replace(sequence, intrinsics=2 * sequence.intrinsics)
    assert longer.unit_ratio(sequence.focal) == pytest.approx(2)
    seen = motion_by_pose_network(SteadyPose(np.ones(11)), longer, focal=sequence.focal)
    np.testing.assert_allclose(seen.found, 2)
    assert longer.unit_ratio(None) == replace(sequence, intrinsics=None).unit_ratio(0.58) == 1


def test_data_of_another_kind_are_refused(tmp_path):
    (tmp_path / "pack").mkdir()
    with pytest.raises(UserError, match="empty folder"):
        opened(tmp_path / "pack", tmp_path)


def test_a_camera_that_the_model_has_learnt_is_taken_where_none_is_known(tmp_path):
    folder = write_model(tmp_path / "model")
    sequences = opened(write_frames(tmp_path / "frames", range(6)), tmp_path / "cache")
    with pytest.raises(UserError, match="the camera is not known"):
        with_cameras(ReleasedModel.open(folder), sequences)
    config = json.loads((folder / "config.json").read_text())
    learned = [[0.9, 0, 0.5], [0, 1.8, 0.5], [0, 0, 1]]
    wide, upright = ([[each, 0, 0.5], [0, other, 0.5], [0, 0, 1]] for each, other in ((0.5, 1.0), (1.8, 0.9)))

    def model_with(*cameras):
        names = ("name", "footage", "intrinsics")
        entries = [dict(zip(names, camera, strict=True)) for camera in cameras]
        (folder / "config.json").write_text(json.dumps({**config, "learned_cameras": entries}))
        return ReleasedModel.open(folder)

    for cameras in (
        [("1", ["frames"], learned), ("2", ["other"], wide)],  # the footage itself
        [("1280x720", ["a.mp4"], wide), ("96x48", ["b.mp4"], learned)],  # the size of its frames
        [("1280x640", ["a.mp4"], learned), ("720x1280", ["b.mp4"], upright)],  # their form
    ):
        [sequence], [remark] = with_cameras(model_with(*cameras), sequences)
        assert np.array_equal(sequence.intrinsics, np.array(learned, np.float32))
        assert "the one that the model learnt" in remark
    assumed = {"name": "1", "footage": ["frames"], "intrinsics": wide, "assumed": True}
    (folder / "config.json").write_text(json.dumps({**config, "learned_cameras": [assumed]}))
    [sequence], [remark] = with_cameras(ReleasedModel.open(folder), sequences)
    assert np.array_equal(sequence.intrinsics, np.array(wide, np.float32))
    assert "training did not find it either, and the 90 degrees that it assumed are taken" in remark
    with pytest.raises(UserError, match=r"nor which of those that the model learnt it is \(1, 2\)"):
        with_cameras(model_with(("1", ["a"], learned), ("2", ["b"], wide)), sequences)
    own = replace(sequence, intrinsics=torch.eye(3))
    assert with_cameras(ReleasedModel.open(folder), [own]) == ([own], [])


class SteadyPose(nn.Module):
    """Sees the motion that it is told, pair by pair, in units."""

    def __init__(self, moved: np.ndarray) -> None:
        super().__init__()
        self.moved = iter(moved)
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        translation = torch.zeros(len(earlier), 2, 3)
        translation[:, 0, 2] = torch.tensor([float(next(self.moved)) for _ in earlier])
        return torch.zeros(len(earlier), 2, 3), translation


def test_a_video_that_begins_within_its_log_is_brought_to_it(tmp_path):
    [sequence] = opened(write_video(tmp_path / "drive.mp4", range(80)), tmp_path / "cache")
    seconds = 1.7e9 + np.arange(0, 30, 0.1)
    knots = np.random.default_rng(3).uniform(4, 16, 31)
    log = Track.of_speeds(tmp_path / "log.csv", seconds, np.interp(seconds - 1.7e9, np.linspace(0, 30, 31), knots))
    starts, ends = (sequence.seconds[[pair[end] for pair in sequence.pairs]] for end in (0, 1))
    motion = motion_by_pose_network(SteadyPose(log.moved_m(1.7e9 + 12.4 + starts, 1.7e9 + 12.4 + ends) / 20), sequence)
    ratios, said = ratios_in_time(motion, sequence, log)
    assert said.startswith("Time offset: the footage begins 12.4")
    assert np.median(ratios) == pytest.approx(20, rel=0.01)
