"""The real commands on a small simulated drive: what a user types, and what comes of bad input."""

import json
import os
import shutil
import signal
import sys
from itertools import count
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

import egodepth
from egodepth.data.configurations import DataConfig
from egodepth.data.opening import open_training_sets
from egodepth.errors import UserError
from egodepth.inference import predict as predict_module
from egodepth.inference.writers import write_depth
from egodepth.recipes import RECIPES
from tests.command_line import SMALL, TINY, only_line, run, train
from tests.processes import Command
from tests.seeded_weights import write_seeded_checkpoints

REFERENCE = Path(__file__).parent.parent / "reference"


def predict(model: Path, images: Path, *more: object) -> int:
    """Exit code of a prediction by PyTorch: the engine that is taken by default first spends seconds on an export."""
    return run("predict", model, images, "--runtime", "torch", *more)


def refused(capsys, *parts: str) -> bool:
    """Whether the last command said one line with all these parts, and no traceback."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("egodepth: ")]
    return len(lines) == 1 and all(part in lines[0] for part in parts)


@pytest.fixture(scope="module")
def metric_run(drive, tmp_path_factory) -> Path:
    """A run folder of a model in metres."""
    out = tmp_path_factory.mktemp("runs") / "stereo"
    assert train(drive, out, "--mode", "mono+stereo") == 0
    return out


@pytest.fixture
def frames(drive, tmp_path) -> Path:
    """A folder of frames without anything beside them: what a user brings."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, file in enumerate(sorted(drive.glob("*/*_0001_sync/image_02/data/*.png"))):
        (folder / f"{number}.png").write_bytes(file.read_bytes())
    return folder


def write_video(path: Path, pictures: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


# --- the way from footage to depth -----------------------------------------------------------------------------


def test_simulate_train_evaluate_and_predict_work_as_the_readme_says(tmp_path, capsys):
    drive, out = tmp_path / "drive", tmp_path / "run"
    assert run("simulate", drive, "--frames", 12, "--height", 64, "--width", 192, "--seed", 3) == 0
    stereo = [*SMALL, "--network.encoder", TINY, "--mode", "stereo"]
    assert run("train", "monodepth2", drive, "--out", out, *stereo) == 0
    figures = tmp_path / "figures.json"
    assert run("evaluate", out, drive, "--protocol", "simulated", "--post-process", "--json", figures) == 0
    assert "abs_rel" in capsys.readouterr().out
    result = json.loads(figures.read_text())
    assert result["protocol"] == "simulated"
    assert result["post_process"] is True
    assert 0 < result["metrics"]["abs_rel"] < 10
    assert len(result["per_image"]) == result["images"] > 0

    clip = next(drive.glob("*/*_0002_sync/image_02/data"))
    assert run("predict", out, clip, "--out", tmp_path / "depth", "--format", "npy") == 0
    depths = sorted((tmp_path / "depth").rglob("*.npy"))
    assert len(depths) == len(list(clip.iterdir()))
    assert np.load(depths[0]).shape == (64, 192)


@pytest.mark.parametrize("protocol", ["eigen", "eigen-benchmark", "simulated"])
def test_the_raw_tree_protocols_run_on_a_simulated_drive(metric_run, drive, protocol, capsys):
    assert run("evaluate", metric_run, drive, "--protocol", protocol) == 0
    assert "scaling none" in capsys.readouterr().out


def test_scaling_can_be_overruled(metric_run, drive, capsys):
    assert run("evaluate", metric_run, drive, "--protocol", "simulated", "--scaling", "median") == 0
    assert "scaling median" in capsys.readouterr().out


def test_figures_are_written_on_request(metric_run, drive, tmp_path):
    assert run("evaluate", metric_run, drive, "--protocol", "simulated", "--figures", tmp_path / "figures") == 0
    assert len(list((tmp_path / "figures").glob("*.png"))) == 2


def test_odometry_is_evaluated_on_drives_with_poses(metric_run, drive, tmp_path, capsys):
    assert run("evaluate", metric_run, drive, "--protocol", "odometry", "--json", tmp_path / "ate.json") == 0
    assert "ATE" in capsys.readouterr().out
    assert json.loads((tmp_path / "ate.json").read_text())["ate_mean_m"] > 0


def test_kitti_stereo_2015_is_evaluated(metric_run, drive, tmp_path, capsys):
    training = tmp_path / "kitti_2015" / "training"
    for name in ("image_2", "disp_occ_0"):
        (training / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (375, 1242, 3), dtype=np.uint8)).save(
        training / "image_2" / "000000_10.png"
    )
    disparity = random.integers(0, 80 * 256, (375, 1242)).astype(np.uint16)
    Image.fromarray(disparity).save(training / "disp_occ_0" / "000000_10.png")
    assert run("evaluate", metric_run, tmp_path / "kitti_2015", "--protocol", "kitti-2015") == 0
    assert "kitti-2015, 1 images" in capsys.readouterr().out


def test_a_folder_of_frames_trains_with_intrinsics_given_or_beside_it(frames, tmp_path):
    assert train(frames, tmp_path / "given", "--intrinsics", "111,111,95,29") == 0
    (frames / "camera.json").write_text(json.dumps({"fx": 111, "fy": 111, "cx": 95, "cy": 29}))
    assert train(frames, tmp_path / "beside") == 0
    assert not egodepth.load(tmp_path / "beside").is_metric


def test_a_video_trains_and_gives_a_depth_video_of_as_many_frames(frames, tmp_path):
    pictures = [np.asarray(Image.open(file)) for file in sorted(frames.glob("*.png"), key=lambda path: int(path.stem))]
    video = write_video(tmp_path / "drive.mp4", pictures)
    assert train(video, tmp_path / "run", "--intrinsics", "111,111,95,29") == 0
    assert predict(tmp_path / "run", video, "--out", tmp_path / "depth", "--format", "video") == 0
    with av.open(str(tmp_path / "depth" / "drive.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == len(pictures)
    assert shown[0].shape == (128, 192, 3)


def test_sixteen_bit_depth_is_metres_times_256(metric_run, frames, tmp_path):
    picture = frames / "0.png"
    for form in ("png16", "npy"):
        assert predict(metric_run, picture, "--out", tmp_path / form, "--format", form) == 0
    stored = np.asarray(Image.open(tmp_path / "png16" / "0.png")).astype(np.float32) / 256
    exact = np.load(tmp_path / "npy" / "0.npy")
    np.testing.assert_allclose(stored, np.minimum(exact, 65535 / 256), atol=1 / 256)


def test_the_python_face_gives_what_the_command_writes(metric_run, frames, tmp_path):
    picture = frames / "0.png"
    assert predict(metric_run, picture, "--out", tmp_path, "--format", "npy") == 0
    image = torch.from_numpy(np.asarray(Image.open(picture)).copy()).permute(2, 0, 1)[None] / 255
    depth = egodepth.load(metric_run / "model").predict_depth(image)
    np.testing.assert_allclose(depth[0, 0].numpy(), np.load(tmp_path / "0.npy"), rtol=1e-5)


def test_list_names_every_recipe_with_its_cost(capsys):
    assert run("list") == 0
    printed = capsys.readouterr().out
    for name in RECIPES:
        assert name in printed
    assert "14.33 M" in printed


@pytest.mark.parametrize("recipe", ["monodepth2", "dna-depth-b0", "dna-depth-b1", "diffnet"])
def test_published_checkpoints_of_every_system_become_models_that_predict(recipe, tmp_path, capsys):
    keys = json.loads((REFERENCE / f"{recipe.replace('monodepth2', 'monodepth2-r18')}-keys.json").read_text())
    pose_files = json.loads((REFERENCE / "monodepth2-r18-keys.json").read_text())
    folder = tmp_path / "weights"
    folder.mkdir()
    write_seeded_checkpoints(folder, pose_files | keys)
    assert run("import", recipe, folder, "--out", tmp_path / "model") == 0
    assert "not used" not in capsys.readouterr().out
    depth = egodepth.load(tmp_path / "model").predict_depth(torch.rand(1, 3, 70, 90))
    assert depth.shape == (1, 1, 70, 90)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["pose"] is not None


@pytest.mark.parametrize(("recipe", "encoder"), [("dna-depth-b0", "test_efficientnet"), ("diffnet", "hrnet_w18_small")])
def test_other_systems_train_with_the_same_method(drive, tmp_path, recipe, encoder):
    options = [*SMALL, "--network.encoder", encoder, "--pose.encoder", TINY]
    assert run("train", recipe, drive, "--out", tmp_path / "run", *options) == 0
    assert egodepth.load(tmp_path / "run").predict_depth(torch.rand(1, 3, 64, 96)).shape == (1, 1, 64, 96)


# --- bad input -------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_refused(tmp_path, capsys):
    assert train(tmp_path / "nowhere", tmp_path / "run") == 2
    assert refused(capsys, "nowhere", "no such")


def test_an_empty_folder_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert train(tmp_path / "empty", tmp_path / "run") == 2
    assert refused(capsys, "empty")
    assert run("predict", tmp_path / "model", tmp_path / "empty", "--out", tmp_path / "out") == 2


def test_footage_without_intrinsics_trains_with_those_that_are_learnt(frames, tmp_path, caplog):
    assert train(frames, tmp_path / "run") == 0
    assert "its focal length is found from the footage" in caplog.text
    assert "It is taken to be 60 degrees wide" in caplog.text
    released = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert released["intrinsics_from"] == "learned"
    assert [camera["assumed"] for camera in released["learned_cameras"]] == [True]
    assert train(frames, tmp_path / "run", "--resume") == 0
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["learned_cameras"][0]["assumed"]


def test_footage_without_intrinsics_is_refused_with_the_ways_to_give_them_where_they_are_not_learnt(frames, tmp_path):
    with pytest.raises(UserError, match=r"--intrinsics.*--fov.*camera\.json"):
        open_training_sets(frames, DataConfig(), "calibrated", (-1, 1), 64, 96, tmp_path / "cache")


def test_a_split_line_that_names_a_missing_frame_is_refused_by_its_line(drive, tmp_path, capsys):
    split = tmp_path / "train_files.txt"
    lines = (drive / "splits" / "simulated" / "train_files.txt").read_text().splitlines()
    split.write_text("\n".join([*lines[:2], lines[0].split()[0] + " 777 l"]) + "\n")
    assert train(drive, tmp_path / "run", "--data.split", split) == 2
    assert refused(capsys, "train_files.txt, line 3", "777")


def test_a_stride_for_drives_is_refused(drive, tmp_path, capsys):
    assert train(drive, tmp_path / "run", "--data.stride", 2) == 2
    assert refused(capsys, "--data.stride 2")


def test_a_drive_too_short_to_hold_frames_out_trains_without_validation(drive, tmp_path):
    short = tmp_path / "short"
    shutil.copytree(drive, short, ignore=shutil.ignore_patterns("splits", "simulation.json"))
    for camera in short.glob("*/*/image_0?/data"):
        for file in sorted(camera.iterdir())[4:]:
            file.unlink()
    assert train(short, tmp_path / "run") == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [("zero.png", b""), ("text.png", b"this is no picture"), ("cut.jpg", None)],
)
def test_a_broken_picture_alone_is_refused_and_among_others_skipped_by_name(
    metric_run, frames, tmp_path, capsys, name, content
):
    if content is None:
        whole = tmp_path / "whole.jpg"
        Image.open(frames / "0.png").save(whole)
        content = whole.read_bytes()[:600]
    (frames / name).write_bytes(content)
    assert predict(metric_run, frames / name, "--out", tmp_path / "alone", "--format", "npy") == 2
    assert refused(capsys, name)
    assert predict(metric_run, frames, "--out", tmp_path / "all", "--format", "npy") == 1
    said = capsys.readouterr()
    assert name in said.out
    assert only_line(said.err) == f"egodepth: 1 of {len(list(frames.iterdir()))} inputs was skipped."
    assert len(list((tmp_path / "all").rglob("*.npy"))) == len(list(frames.iterdir())) - 1


def test_training_goes_on_beside_a_broken_frame_and_says_so(frames, tmp_path, capsys, caplog):
    broken = frames / "4.png"
    broken.write_bytes(broken.read_bytes()[:500])
    assert train(frames, tmp_path / "run", "--intrinsics", "111,111,95,29") == 0
    assert "4.png" in capsys.readouterr().err + caplog.text


def test_a_video_of_one_frame_is_refused_for_training_and_predicted(metric_run, frames, tmp_path, capsys):
    video = write_video(tmp_path / "one.mp4", [np.asarray(Image.open(frames / "0.png"))])
    assert train(video, tmp_path / "run", "--intrinsics", "111,111,95,29") == 2
    assert refused(capsys, "one.mp4")
    assert predict(metric_run, video, "--out", tmp_path / "depth", "--format", "video") == 0


def test_a_picture_of_7_by_5_pixels_gives_depth_of_7_by_5(metric_run, tmp_path):
    Image.new("RGB", (7, 5), (90, 120, 30)).save(tmp_path / "small.png")
    assert predict(metric_run, tmp_path / "small.png", "--out", tmp_path / "depth", "--format", "npy") == 0
    assert np.load(tmp_path / "depth" / "small.npy").shape == (5, 7)


def test_a_checkpoint_with_a_foreign_pickle_is_refused(tmp_path, capsys):
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("encoder.pth", "depth.pth"):
        torch.save({"hook": os.system}, folder / name)
    assert run("import", "monodepth2", folder, "--out", tmp_path / "model") == 2
    assert refused(capsys, "depth.pth", "not opened")
    assert not (tmp_path / "model").exists()


def test_a_model_that_is_none_is_refused(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    for model in (tmp_path / "folder", tmp_path / "missing", "no-such-model"):
        assert run("predict", model, tmp_path, "--out", tmp_path / "out") == 2
        assert refused(capsys, "model")


def test_an_unknown_recipe_is_refused_with_the_known_ones(tmp_path, capsys):
    assert run("import", "monodepth3", tmp_path, "--out", tmp_path / "model") == 2
    assert refused(capsys, "monodepth3", "monodepth2")


def test_data_that_does_not_fit_the_protocol_is_refused(metric_run, drive, capsys):
    assert run("evaluate", metric_run, drive, "--protocol", "kitti-2015") == 2
    assert refused(capsys, "kitti-2015", "simulated")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file size limit of the kernel")
def test_a_disk_that_is_full_gives_one_line_and_keeps_the_older_file(metric_run, frames, tmp_path):
    """A limit on file size stands in for a full disk: the kernel refuses the same write calls."""
    out = tmp_path / "depth"
    assert predict(metric_run, frames / "0.png", "--out", out, "--format", "npy") == 0
    before = (out / "0.npy").read_bytes()
    arguments = ["predict", metric_run, frames / "0.png", "--out", out, "--format", "npy", "--runtime", "torch"]
    process = Command(arguments, tmp_path / "said.txt", largest_file=4096)
    assert process.wait() == 2, process.said
    assert "0.npy" in only_line(process.said)
    assert "Traceback" not in process.said
    assert (out / "0.npy").read_bytes() == before
    assert [path.name for path in out.iterdir()] == ["0.npy"]


def test_an_interrupted_prediction_leaves_whole_files_only(metric_run, frames, tmp_path, monkeypatch, capsys):
    pictures = tmp_path / "many"
    pictures.mkdir()
    content = (frames / "0.png").read_bytes()
    for number in range(60):
        (pictures / f"{number}.png").write_bytes(content)
    begun = count(1)

    def write_and_interrupt(*arguments: object) -> None:
        # Of several threads each gets a number of its own, so that one of them gets the eighth.
        if next(begun) == 8:
            os.kill(os.getpid(), signal.SIGINT)
        write_depth(*arguments)

    monkeypatch.setattr(predict_module, "write_depth", write_and_interrupt)
    out = tmp_path / "depth"
    assert predict(metric_run, pictures, "--out", out, "--format", "npy") == 130
    assert refused(capsys, "Every file that was written is complete")
    written = [path for path in out.rglob("*") if path.is_file()]
    assert 8 <= len(written) < 60
    assert all(np.load(path).shape == (64, 192) for path in written)


def test_a_field_of_view_serves_in_place_of_intrinsics(frames, tmp_path, capsys):
    assert train(frames, tmp_path / "run", "--fov", "80") == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["intrinsics"] == "fov=80"
    capsys.readouterr()
    assert train(frames, tmp_path / "again", "--fov", "200") == 2
    assert refused(capsys, "--fov 200", "10 to 150 degrees")
    assert train(frames, tmp_path / "again", "--fov", "80", "--intrinsics", "111,111,95,29") == 2
    assert refused(capsys, "--fov 80", "Give one of the two")
