"""Streets for one's own camera: varied drives with a field of view and a height that are given."""

import numpy as np
import pytest

from egodepth.data.images import read_depth_png
from egodepth.data.kitti.raw import KittiTree
from tests.command_line import only_line, run


def drives_of(out):
    return sorted(path for path in out.glob("*/*_sync") if path.is_dir())


def road_depth(drive) -> float:
    """Median depth of the middle of the lowest rows."""
    depths = [read_depth_png(file) for file in sorted((drive / "proj_depth/groundtruth/image_02").glob("*.png"))]
    return float(np.median([depth[-6:, 36:60] for depth in depths]))


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    out = tmp_path_factory.mktemp("streets")
    for height in (1.2, 2.4):
        assert run("simulate", out / str(height), "--frames", 8, "--height", 48, "--width", 96, "--varied",
                   "--seed", 3, "--fov", 70, "--camera-height", height) == 0  # fmt: skip
    return {height: out / str(height) for height in (1.2, 2.4)}


def test_every_drive_has_the_field_of_view_that_was_given(streets):
    for out in streets.values():
        for drive in drives_of(out):
            camera = KittiTree(out).calibration(f"{drive.parent.name}/{drive.name}").camera("l")
            assert camera.normalised()[0, 0] == pytest.approx(0.5 / np.tan(np.deg2rad(35)), rel=1e-4)


def test_a_camera_twice_as_high_sees_the_road_twice_as_far_away(streets):
    for low, high in zip(*map(drives_of, streets.values()), strict=True):
        assert road_depth(high) / road_depth(low) == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("option", [("--fov", 70), ("--camera-height", 1.5)])
def test_plain_streets_have_their_one_camera(option, tmp_path, capsys):
    assert run("simulate", tmp_path / "plain", *option) == 2
    assert "are of varied drives. Give --varied" in only_line(capsys.readouterr().err)
    assert not (tmp_path / "plain").exists()
