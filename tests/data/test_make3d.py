"""Make3D's layout, its MATLAB files written byte by byte, and KITTI's selected validation images."""

import numpy as np
import pytest

from egodepth.data.configurations import EvaluationDataConfig
from egodepth.data.kitti.selection import KittiSelectionFrames
from egodepth.data.make3d.frames import Make3dFrames, bare_name, read_grid, read_matlab_array
from egodepth.data.opening import open_evaluation_frames
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import evaluate
from egodepth.evaluation.protocols import PROTOCOLS
from tests.data.trees import MAKE3D_NAME as NAME
from tests.data.trees import laser_grid, variable, write_make3d_frame, write_matlab, write_selection


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("precision", ["f4", "f8"])
def test_a_matlab_array_is_read_as_it_was_written(tmp_path, order, compressed, precision):
    wanted = np.random.default_rng(0).random((3, 5, 4)).astype(precision)
    others = [variable(name, np.ones((2, 2)), order, compressed) for name in ("ab", "Other")]
    wanted_variable = variable("Position3DGrid", wanted, order, compressed)
    write_matlab(tmp_path / "a.mat", others[0], wanted_variable, others[1], order=order)
    assert (read_matlab_array(tmp_path / "a.mat", "Position3DGrid") == wanted).all()
    assert (read_matlab_array(tmp_path / "a.mat", "ab") == 1).all()
    with pytest.raises(UserError, match="holds no Position4D"):
        read_matlab_array(tmp_path / "a.mat", "Position4D")


def test_a_block_without_its_checksum_is_still_read(tmp_path):
    write_make3d_frame(tmp_path, checksum=False)
    grid = read_grid(tmp_path / "Gridlaserdata" / f"depth_sph_corr-{NAME}.mat")
    assert grid == pytest.approx(laser_grid()[..., 3])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: content[:3000], "is damaged or cut short"),
        (lambda content: b"", "is not a MATLAB 5 file"),
        (lambda content: b"\x89HDF\r\n" + content, "is not a MATLAB 5 file"),
    ],
)
def test_a_grid_that_cannot_be_read_is_named(tmp_path, spoil, words):
    write_make3d_frame(tmp_path)
    file = next(tmp_path.rglob("*.mat"))
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(UserError, match=rf"\.mat: {words}"):
        Make3dFrames(tmp_path, expected=1)[0]


def test_a_variable_of_another_shape_is_named(tmp_path):
    write_matlab(tmp_path / "a.mat", variable("Position3DGrid", np.ones((55, 305))))
    with pytest.raises(UserError, match=r"is \(55, 305\), expected \(55, 305, 4\)"):
        read_grid(tmp_path / "a.mat")


def test_a_frame_pairs_image_and_distances_by_name(tmp_path):
    for name in (NAME, "stats9-p-251t0"):
        write_make3d_frame(tmp_path, name)
    (frame, other) = Make3dFrames(tmp_path, expected=2)
    assert (frame.name, other.name) == (NAME, "stats9-p-251t0")
    assert frame.image.shape == (40, 30, 3)
    assert frame.depth == pytest.approx(laser_grid()[..., 3])


@pytest.mark.parametrize("line", [f"img-{NAME}.jpg", f"img-{NAME}", NAME, f"depth_sph_corr-{NAME}.mat"])
def test_lists_of_every_form_name_the_same_frame(tmp_path, line):
    assert bare_name(line) == NAME
    write_make3d_frame(tmp_path, images="Test134Img", grids="Test134Depth/Gridlaserdata")
    (tmp_path / "some.txt").write_text(f"{line}\n")
    frames = open_evaluation_frames(tmp_path, "make3d", EvaluationDataConfig(split=str(tmp_path / "some.txt")))
    assert [frame.name for frame in frames] == [NAME]


def test_all_134_images_must_be_there(tmp_path):
    write_make3d_frame(tmp_path)
    with pytest.raises(UserError, match="holds 1 test images, expected 134"):
        open_evaluation_frames(tmp_path, "make3d")
    next(tmp_path.rglob("*.mat")).unlink()
    with pytest.raises(UserError, match=rf"has no depth_sph_corr-{NAME}\.mat"):
        Make3dFrames(tmp_path, expected=1)
    (tmp_path / "Gridlaserdata").rmdir()
    with pytest.raises(UserError, match=r"no folder Gridlaserdata\. Unpack Test134Depth"):
        Make3dFrames(tmp_path, expected=1)


def test_a_predictor_that_knows_the_grid_is_perfect_by_the_protocol(tmp_path):
    write_make3d_frame(tmp_path, size=(2272, 1704))
    seen = []

    def predict(image):
        seen.append(image.shape)
        return 2 / laser_grid()[17:38, :, 3]

    frames = Make3dFrames(tmp_path, expected=1)
    result = evaluate(predict, frames, PROTOCOLS["make3d"], metric_scale=True, progress=False)
    assert seen == [(852, 1704, 3)]
    assert result.scaling == "median"
    assert result.scale_ratio == pytest.approx(2)
    assert result.metrics["abs_rel"] == pytest.approx(0, abs=1e-6)


# --- KITTI's depth selection ---


@pytest.mark.parametrize("given", ["depth_selection/val_selection_cropped", "depth_selection", "."])
def test_selected_images_have_their_depth_and_camera(tmp_path, given):
    write_selection(tmp_path / "depth_selection" / "val_selection_cropped")
    (frame,) = open_evaluation_frames(tmp_path / given, "kitti-benchmark")
    assert frame.depth[200, 7] == 25
    assert frame.depth[201, 7] == 0
    assert frame.camera.intrinsics[1, 2] == pytest.approx(149.8)


def test_a_selected_image_without_depth_is_named(tmp_path):
    write_selection(tmp_path)
    next((tmp_path / "groundtruth_depth").iterdir()).unlink()
    with pytest.raises(UserError, match=r"groundtruth_depth_0000000005_image_02\.png: no such ground truth"):
        KittiSelectionFrames(tmp_path)
