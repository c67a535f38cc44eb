"""Evaluating a predictor over frames, on frames of several sizes made here."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from egodepth.data.samples import EvaluationFrame
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import evaluate, results_table
from egodepth.evaluation.metrics import SEVEN
from egodepth.evaluation.priors import constant_depth, ground_plane, ground_plane_of
from egodepth.evaluation.protocols import PROTOCOLS
from egodepth.geometry.cameras import Camera, pinhole
from tests.processes import in_two_processes

SIZES = ((40, 120), (37, 122), (40, 120), (44, 118), (39, 121))
SIMULATED = PROTOCOLS["simulated"]


def street_frame(index: int) -> EvaluationFrame:
    """A frame whose depth can be read from its image, so that a predictor can be exactly right."""
    height, width = SIZES[index % len(SIZES)]
    generator = np.random.default_rng(index)
    levels = generator.integers(4, 250, (height, width), dtype=np.uint8)
    depth = levels.astype(np.float32) / 4
    depth[generator.random((height, width)) < 0.3] = 0
    return EvaluationFrame(f"street {index:02d}", np.repeat(levels[..., None], 3, axis=2), depth)


def see_exactly(image: np.ndarray) -> np.ndarray:
    return 4 / image[..., 0].astype(np.float32)


def see_roughly(image: np.ndarray) -> np.ndarray:
    """Wrong in a way that depends on the place, up to scale, and at half the size."""
    tilt = np.linspace(0.7, 1.4, image.shape[1], dtype=np.float32)
    return 3 * (see_exactly(image) * tilt)[::2, ::2]


def run(predict, frames, protocol=SIMULATED, **options):
    options = {"metric_scale": False, "progress": False} | options
    return evaluate(predict, frames, protocol, **options)


FRAMES = [street_frame(index) for index in range(5)]


def test_a_perfect_predictor_is_perfect_on_images_of_several_sizes():
    result = run(see_exactly, FRAMES, metric_scale=True)
    assert [result.metrics[name] for name in SEVEN] == pytest.approx([0, 0, 0, 0, 1, 1, 1], abs=1e-5)
    assert result.scaling == "none"
    assert result.images == 5
    assert result.scale_ratio == pytest.approx(1)


def test_the_figure_is_the_mean_of_the_images_figures():
    result = run(see_roughly, FRAMES)
    for name in SEVEN:
        assert result.metrics[name] == pytest.approx(np.mean([row.metrics[name] for row in result.rows]))
    ratios = np.array([row.ratio for row in result.rows])
    assert result.scale_ratio == pytest.approx(np.median(ratios))
    assert result.scale_ratio_std == pytest.approx(np.std(ratios / np.median(ratios)))
    assert [row.name for row in result.rows] == [frame.name for frame in FRAMES]


def test_a_wrong_scale_counts_only_without_median_scaling():
    def twice_as_near(image: np.ndarray) -> np.ndarray:
        return 2 * see_exactly(image)

    assert run(twice_as_near, FRAMES).metrics["abs_rel"] == pytest.approx(0, abs=1e-5)
    overruled = run(twice_as_near, FRAMES, scaling="none")
    assert overruled.metrics["abs_rel"] == pytest.approx(0.5, abs=1e-5)
    assert overruled.scale_ratio == pytest.approx(2, rel=1e-5)


def test_predictions_are_clamped_after_scaling():
    result = run(constant_depth(1000.0), FRAMES, metric_scale=True)
    at_80 = run(constant_depth(80.0), FRAMES, metric_scale=True)
    assert result.metrics == pytest.approx(at_80.metrics)


def test_post_processing_predicts_the_mirrored_image_too():
    seen = []

    def predict(image: np.ndarray) -> np.ndarray:
        seen.append(image)
        return see_exactly(image)

    result = run(predict, FRAMES[:1], post_process=True)
    assert (seen[1] == seen[0][:, ::-1]).all()
    assert result.post_process
    assert result.metrics["abs_rel"] == pytest.approx(0, abs=1e-5)


def test_a_frame_without_ground_truth_is_left_out_by_name():
    empty = EvaluationFrame("blind", FRAMES[0].image, np.zeros_like(FRAMES[0].depth))
    result = run(see_roughly, [FRAMES[0], empty, FRAMES[1]])
    assert result.skipped == ("blind",)
    assert result.images == 2
    assert result.metrics == run(see_roughly, FRAMES[:2]).metrics


def test_no_frames_and_no_ground_truth_are_reported():
    empty = EvaluationFrame("blind", FRAMES[0].image, np.zeros_like(FRAMES[0].depth))
    with pytest.raises(UserError, match="no frames"):
        run(see_exactly, [])
    with pytest.raises(UserError, match=r"none of the 1 frames.*blind"):
        run(see_exactly, [empty])


def test_a_prediction_that_is_not_finite_is_reported_by_the_frames_name():
    def diverged(image: np.ndarray) -> np.ndarray:
        return np.full(image.shape[:2], np.nan, np.float32)

    with pytest.raises(UserError, match=r"street 00.*not finite"):
        run(diverged, FRAMES)


def test_a_result_survives_json():
    plain = run(see_roughly, FRAMES).to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["images"] == 5
    assert plain["per_image"][3]["name"] == "street 03"


def test_the_terminal_table_shows_protocol_scaling_metrics_and_what_was_left_out():
    empty = EvaluationFrame("[blind]", FRAMES[0].image, np.zeros_like(FRAMES[0].depth))
    frames = [*FRAMES, empty]
    console = Console(width=120, file=io.StringIO())
    console.print(results_table({"model": run(see_roughly, frames), "constant": run(constant_depth(), frames)}))
    text = console.file.getvalue()
    for expected in ("simulated, 5 images", "abs_rel ↓", "a1 ↑", "model", "constant", "scaling median", "[blind]"):
        assert expected in text


def test_every_frame_is_handed_on_with_its_scaled_depth():
    seen = []
    result = run(see_roughly, FRAMES, on_frame=seen.append)
    assert [found.index for found in seen] == [0, 1, 2, 3, 4]
    assert [found.row for found in seen] == list(result.rows)
    for found in seen:
        assert found.depth.shape == found.frame.depth.shape
        assert np.median(found.depth[found.mask]) == pytest.approx(np.median(found.frame.depth[found.mask]), rel=1e-4)


def _evaluate_a_share(rank: int, meeting: str, out: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    Path(f"{out}{rank}").write_text(json.dumps(run(see_roughly, FRAMES).to_json()))
    torch.distributed.destroy_process_group()


def test_two_processes_that_share_the_frames_get_the_result_of_one(tmp_path):
    in_two_processes(_evaluate_a_share, str(tmp_path / "meeting"), str(tmp_path / "rank"))
    expected = run(see_roughly, FRAMES).to_json()
    for rank in range(2):
        assert json.loads((tmp_path / f"rank{rank}").read_text()) == expected


# --- the priors ------------------------------------------------------------------------------------------------------


def test_the_ground_plane_prior_is_exact_on_a_level_street():
    camera = Camera(pinhole(fx=200.0, fy=210.0, cx=150.0, cy=45.0), height=100, width=300)
    row = np.arange(100.0)
    depth = np.where(row > 45, 1.5 * 210 / np.maximum(row - 45, 1e-9), 0)
    frame = EvaluationFrame(
        "plane", np.zeros((100, 300, 3), np.uint8), np.repeat(depth[:, None], 300, axis=1).astype(np.float32), camera
    )
    result = run(ground_plane_of(camera, camera_height_m=1.5), [frame], metric_scale=True)
    assert result.metrics["abs_rel"] == pytest.approx(0, abs=1e-4)


def test_the_ground_plane_prior_fits_any_size_of_a_picture():
    prior = ground_plane()
    small, large = (prior(np.zeros((height, 8, 3), np.uint8)) for height in (125, 375))
    assert small[:, 0] == pytest.approx(large[1::3, 0], rel=1e-5)
    assert large[0, 0] == pytest.approx(1 / 80)


def test_the_constant_prior_has_one_figure_under_median_scaling():
    near, far = (run(constant_depth(depth_m), FRAMES).metrics for depth_m in (1.0, 30.0))
    assert near == pytest.approx(far, rel=1e-5)


class Kitti2015:
    """The frames of the data pack beside the repository, read plainly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = sorted(path.name for path in (folder / "disp_occ_0").iterdir())

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> EvaluationFrame:
        name = self.names[index]
        disparity = np.asarray(Image.open(self.folder / "disp_occ_0" / name), np.float32) / 256
        depth = np.divide(721.5377 * 0.5327, disparity, out=np.zeros_like(disparity), where=disparity > 0)
        return EvaluationFrame(name, np.zeros((*depth.shape, 3), np.uint8), depth)


@pytest.mark.realdata
def test_the_priors_have_their_known_error_on_kitti_2015():
    folder = Path(__file__).parents[2].parent / "shared" / "data" / "kitti_2015" / "training"
    if not folder.is_dir():
        pytest.skip(f"no KITTI 2015 sample beside the repository ({folder})")
    frames, protocol = Kitti2015(folder), PROTOCOLS["kitti-2015"]
    plane = run(ground_plane(), frames, protocol)
    constant = run(constant_depth(), frames, protocol)
    assert 0.30 < plane.metrics["abs_rel"] < 0.45
    assert plane.metrics["abs_rel"] < constant.metrics["abs_rel"]
    assert len(asdict(plane)["rows"]) == len(frames) == 41
