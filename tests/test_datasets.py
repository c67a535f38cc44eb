"""Each data set from a tiny tree in its own layout through the real commands: checked, trained on and evaluated."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import egodepth
from egodepth.data.simulator import MARKER
from egodepth.evaluation.protocols import PROTOCOLS
from tests.command_line import SMALL, TINY, TINY_MANYDEPTH, TINY_NETWORKS, evaluated, logged, only_line, run, train
from tests.data.trees import (
    FRAME_SIZE,
    MAKE3D_NAME,
    write_cityscapes_disparity,
    write_cityscapes_pair,
    write_ddad,
    write_frames,
    write_make3d_frame,
    write_selection,
    write_snippet,
    write_stereo_2015,
    write_triplet,
    write_video,
)

CAMERA = {"fx": 80, "fy": 80, "cx": 47.5, "cy": 23.5}


@dataclass(frozen=True)
class Layout:
    """A data set as it lies on a disk.

    Attributes:
        title: what `egodepth data check` calls it.
        write: makes the tree; takes the root and a simulated drive.
        protocols: that its ground truth serves.
        images: with ground truth.
        mode: of training.
    """

    title: str
    write: Callable[[Path, Path], object]
    protocols: tuple[str, ...]
    images: int
    mode: str = "mono"


def write_kitti_raw(root: Path, drive: Path) -> None:
    """A simulated drive without what tells it from KITTI."""
    shutil.copytree(drive, root, ignore=shutil.ignore_patterns(MARKER))


def write_cityscapes_stereo(root: Path, _: Path) -> None:
    for place in range(3):
        write_cityscapes_pair(root, "train", f"ulm_00000{place}_000019", seed=place)
    write_cityscapes_pair(root, "val", "lindau_000000_000019", seed=3)
    for place in range(2):
        write_cityscapes_pair(root, "test", f"bonn_00000{place}_000019", seed=4 + place)
        write_cityscapes_disparity(root, "test", f"bonn_00000{place}_000019")


def write_cityscapes_sequence(root: Path, _: Path) -> None:
    """Sequences of the left camera; the test frame has its neighbours as well."""
    for split, recording in (("train", "ulm_000002"), ("test", "bonn_000000")):
        write_cityscapes_pair(root, split, f"{recording}_000019")
        write_snippet(root, split, recording)
    shutil.rmtree(root / "rightImg8bit")
    write_cityscapes_disparity(root, "test", "bonn_000000_000019")


def write_make3d(root: Path, _: Path) -> None:
    """134 images, all with the laser grid of the first."""
    write_make3d_frame(root)
    image, grid = root / "Test134" / f"img-{MAKE3D_NAME}.jpg", next((root / "Gridlaserdata").iterdir())
    for number in range(1, 134):
        name = f"{MAKE3D_NAME[:-1]}{number}"
        shutil.copy(image, image.with_name(f"img-{name}.jpg"))
        shutil.copy(grid, grid.with_name(f"depth_sph_corr-{name}.mat"))


TRAINED_ON = {
    "KITTI raw": Layout(
        "KITTI raw", write_kitti_raw, ("eigen", "eigen-benchmark", "sdfa", "sdfa-benchmark"), 2, "mono+stereo"
    ),
    "simulated drive": Layout("simulated drives", lambda root, drive: shutil.copytree(drive, root), ("simulated",), 2),
    "Cityscapes stereo": Layout(
        "Cityscapes", write_cityscapes_stereo, ("cityscapes", "cityscapes-smde"), 2, mode="stereo"
    ),
    "Cityscapes sequences": Layout("Cityscapes", write_cityscapes_sequence, ("cityscapes", "cityscapes-smde"), 1),
    "DDAD": Layout(
        "DDAD", lambda root, _: write_ddad(root, train=("000000", "000001")), ("ddad", "ddad-sc", "ddad-80"), 6
    ),
}

EVALUATED_ON = {
    "KITTI Stereo 2015": Layout(
        "KITTI Stereo 2015", lambda root, _: write_stereo_2015(root), ("kitti-2015", "kitti-2015-full"), 2
    ),
    "KITTI's depth selection": Layout(
        "KITTI's depth prediction benchmark",
        lambda root, _: write_selection(root / "depth_selection" / "val_selection_cropped"),
        ("kitti-benchmark",),
        1,
    ),
    "Make3D": Layout("Make3D", write_make3d, ("make3d",), 134),
}


def layouts(of: dict[str, Layout]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("layout", of.values(), ids=list(of))


@pytest.fixture(scope="module")
def model(drive, tmp_path_factory) -> Path:
    """A run up to scale, for data that hold ground truth alone."""
    out = tmp_path_factory.mktemp("model") / "run"
    assert train(drive, out) == 0
    return out


def checked(root: Path, title: str, capsys: pytest.CaptureFixture) -> None:
    """`egodepth data check` knows the data and finds no fault."""
    capsys.readouterr()
    assert run("data", "check", root) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{root}: {title}")
    assert "no fault found" in said.out
    assert said.err == ""


def test_every_protocol_is_run_on_a_layout_of_its_data():
    tried = {name for layout in (*TRAINED_ON.values(), *EVALUATED_ON.values()) for name in layout.protocols}
    assert tried == set(PROTOCOLS)


@layouts(TRAINED_ON)
def test_a_tree_that_trains_is_checked_trained_on_and_evaluated(layout, drive, tmp_path, capsys):
    root, out = tmp_path / "data", tmp_path / "run"
    layout.write(root, drive)
    checked(root, layout.title, capsys)
    # Training from pairs alone has no pose network, and refuses its options.
    networks = ["--network.encoder", TINY] if layout.mode == "stereo" else TINY_NETWORKS
    options = [*SMALL, *networks, "--mode", layout.mode, "--log-every", 1]
    assert run("train", "monodepth2", root, "--out", out, *options) == 0
    losses = logged(out, "loss")
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    assert min(losses) > 0
    is_metric = "stereo" in layout.mode
    assert egodepth.load(out).is_metric == is_metric
    for protocol in layout.protocols:
        figures = evaluated(out, root, protocol, tmp_path / "figures.json")
        assert figures["images"] == layout.images
        assert figures["skipped"] == []
        assert figures["scaling"] == ("none" if is_metric else "median")


@layouts(EVALUATED_ON)
def test_a_tree_of_ground_truth_alone_is_checked_and_evaluated_but_not_trained_on(
    layout, model, drive, tmp_path, capsys
):
    root = tmp_path / "data"
    layout.write(root, drive)
    checked(root, layout.title, capsys)
    for protocol in layout.protocols:
        figures = evaluated(model, root, protocol, tmp_path / "figures.json", "--post-process")
        assert figures["images"] == layout.images
        assert figures["skipped"] == []
        assert figures["post_process"] is True
    capsys.readouterr()
    assert train(root, tmp_path / "run") == 2
    assert "for evaluation only" in only_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_cityscapes_triplets_train_and_are_evaluated_on_the_archives(tmp_path, capsys):
    triplets, archives = tmp_path / "triplets", tmp_path / "archives"
    triplets.mkdir()
    for city in ("aachen", "ulm"):
        for frame in range(2, 6):
            write_triplet(triplets, f"{city}_000002_{frame:06d}", third=(24, 64))
    (triplets / "train.txt").write_text("".join(f"ulm ulm_000002_{frame:06d}\n" for frame in range(2, 6)))
    (triplets / "val.txt").write_text("aachen aachen_000002_000002\n")
    write_cityscapes_stereo(archives, tmp_path)
    checked(triplets, "Cityscapes as preprocessed triplets", capsys)
    assert train(triplets, tmp_path / "run") == 0
    assert evaluated(tmp_path / "run", archives, "cityscapes", tmp_path / "figures.json")["images"] == 2
    capsys.readouterr()
    assert run("evaluate", tmp_path / "run", triplets, "--protocol", "cityscapes") == 2
    assert "is cityscapes-triplets data; this protocol needs cityscapes data" in only_line(capsys.readouterr().err)


def test_a_multi_frame_model_sees_the_frame_before_a_test_frame_of_cityscapes(tmp_path):
    root, out = tmp_path / "data", tmp_path / "run"
    write_cityscapes_sequence(root, tmp_path)
    assert run("train", "manydepth", root, "--out", out, *SMALL, *TINY_MANYDEPTH) == 0
    with_previous = evaluated(out, root, "cityscapes", tmp_path / "figures.json")
    (root / "leftImg8bit_sequence/test/bonn/bonn_000000_000017_leftImg8bit.png").unlink()
    alone = evaluated(out, root, "cityscapes", tmp_path / "figures.json")
    assert with_previous["metrics"] != alone["metrics"]


@pytest.mark.parametrize("form", ["frames", "video"])
def test_footage_is_checked_trained_on_and_predicted_but_has_no_ground_truth(form, tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    footage = write_frames(folder / "drive") if form == "frames" else write_video(folder / "drive.mp4")
    camera = (footage if footage.is_dir() else folder) / "camera.json"
    camera.write_text(json.dumps(CAMERA))
    before = sorted(folder.rglob("*"))
    checked(footage, f"a {'folder of frames' if form == 'frames' else 'video'}", capsys)
    assert train(footage, tmp_path / "run") == 0
    predicted = ["--out", tmp_path / "depth", "--format", "npy", "--runtime", "torch"]
    assert run("predict", tmp_path / "run", footage, *predicted) == 0
    depths = [np.load(file) for file in (tmp_path / "depth").rglob("*.npy")]
    assert len(depths) == 12
    assert all(depth.shape == FRAME_SIZE and np.isfinite(depth).all() and depth.min() > 0 for depth in depths)
    capsys.readouterr()
    assert run("evaluate", tmp_path / "run", footage, "--protocol", "eigen") == 2
    assert f"is {form} data; this protocol needs simulated or kitti-raw data" in only_line(capsys.readouterr().err)
    assert sorted(folder.rglob("*")) == before
