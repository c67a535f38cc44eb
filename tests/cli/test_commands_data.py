"""Looking after data and comparing with the papers through the real commands: data check, data pack, reproduce."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from egodepth.cli.main import main
from egodepth.data.frame_store import FrameStore
from egodepth.data.simulator.writer import MARKER
from egodepth.reproduction import published
from egodepth.reproduction.published import PublishedRow, published_rows
from tests.command_line import SMALL, TINY, TINY_NETWORKS, TINY_ROW, logged, only_line, run, train
from tests.data.trees import write_cityscapes_disparity, write_cityscapes_pair, write_ddad, write_frames
from tests.processes import PATIENCE_S, SERVER

RELEASED = Path("model") / "model.safetensors"


@pytest.fixture
def kitti(drive, tmp_path) -> Path:
    """A KITTI raw tree that a test may change."""
    return shutil.copytree(drive, tmp_path / "kitti", ignore=shutil.ignore_patterns(MARKER))


def state(root: Path) -> dict[Path, tuple[int, int]]:
    """When each file and folder was changed, and its size."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(root.rglob("*"))}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 + 1])


# --- data check ------------------------------------------------------------------------------------------------------


def first_date(root: Path) -> Path:
    return next(path for path in sorted(root.iterdir()) if path.name.startswith("20"))


def lose_calibration(root: Path) -> None:
    (first_date(root) / "calib_cam_to_cam.txt").unlink()


def unpack_in_part(root: Path) -> None:
    """The archive broke off in the middle of the right camera."""
    shutil.rmtree(root / "splits")
    for file in sorted(next(root.glob("*/*_0001_sync/image_03/data")).iterdir())[4:]:
        file.unlink()


def list_wrongly(root: Path) -> None:
    file = next(root.glob("splits/*/train_files.txt"))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], f"{lines[1].split()[0]} 777 l", *lines[2:]]) + "\n")


def write_another_form(root: Path) -> None:
    """A list of file names in place of drive, frame and side."""
    next(root.glob("splits/*/val_files.txt")).write_text("image_02/data/0000000001.png\n")


def swap_cameras(root: Path) -> None:
    for left in list(root.glob("*/*_sync/image_02")):
        right, kept = left.with_name("image_03"), left.with_name("kept")
        left.rename(kept)
        right.rename(left)
        kept.rename(right)


def cut_scan(root: Path) -> None:
    scan = sorted(root.glob("*/*/velodyne_points/data/*.bin"))[0]
    scan.write_bytes(scan.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("spoil", "what", "remedy"),
    [
        (lose_calibration, "calib_cam_to_cam.txt: no such", "Copy"),
        (unpack_in_part, "drive_0001_sync: image_02 has 12 frames, image_03 4", "unpack it again"),
        (list_wrongly, "train_files.txt: 1 of its 18 frames are not in the tree (the first: line 2", "Add the drives"),
        (write_another_form, "val_files.txt, line 1: `image_02/data/0000000001.png` is not", "Correct the line"),
        (swap_cameras, "image_02 and image_03: the left and the right camera are swapped", "Exchange the two folders"),
        (cut_scan, ".bin: ", "Copy the file again"),
    ],
)
def test_a_bad_kitti_tree_is_told_in_one_line_with_the_remedy(kitti, capsys, spoil, what, remedy):
    spoil(kitti)
    assert run("data", "check", kitti) == 2
    said = capsys.readouterr()
    line = only_line(said.err)
    assert what in line
    assert remedy in line
    assert str(kitti) in line
    assert "1 faults" in said.out


def lose_right_images(root: Path) -> None:
    next((root / "rightImg8bit" / "train").rglob("*.png")).unlink()


def lose_cameras(root: Path) -> None:
    shutil.rmtree(root / "camera" / "train")


@pytest.mark.parametrize(
    ("spoil", "what", "remedy"),
    [
        (lose_right_images, "1 of 2 train frames are in only one of leftImg8bit and rightImg8bit", "Unpack both"),
        (lose_cameras, "no camera file of ulm_00000", "Unpack camera_trainvaltest.zip"),
    ],
)
def test_a_bad_cityscapes_tree_is_told_in_one_line_with_the_remedy(tmp_path, capsys, spoil, what, remedy):
    for split, name in (("train", "ulm_000002_000019"), ("train", "ulm_000003_000019"), ("test", "bonn_000000_000019")):
        write_cityscapes_pair(tmp_path, split, name)
    write_cityscapes_disparity(tmp_path, "test", "bonn_000000_000019")
    spoil(tmp_path)
    assert run("data", "check", tmp_path) == 2
    line = only_line(capsys.readouterr().err)
    assert what in line
    assert remedy in line


@pytest.mark.parametrize(
    ("spoil", "what", "remedy"),
    [
        (lambda root: cut(root / "000150/point_cloud/LIDAR/1.npz"), "000150/point_cloud/LIDAR/1.npz: ", "Unpack the"),
        (lambda root: (root / "000151/rgb/CAMERA_01/11.png").unlink(), "unpacked in part", "unpack all of it"),
        (
            lambda root: (root / "000151/calibration/k.json").unlink(),
            "000151/calibration/k.json: no such file",
            "Unpack the",
        ),
    ],
    ids=["corrupt point cloud", "half unpacked", "missing calibration"],
)
def test_a_bad_ddad_tree_is_told_in_one_line_with_the_remedy(tmp_path, capsys, spoil, what, remedy):
    write_ddad(tmp_path)
    spoil(tmp_path)
    assert run("data", "check", tmp_path) == 2
    line = only_line(capsys.readouterr().err)
    assert what in line
    assert remedy in line


def test_several_faults_are_several_lines(kitti, capsys):
    for spoil in (lose_calibration, cut_scan, list_wrongly):
        spoil(kitti)
    assert run("data", "check", kitti) == 2
    said = capsys.readouterr()
    assert sum(line.startswith("egodepth: ") for line in said.err.splitlines()) == 3
    assert "3 faults" in said.out


def test_a_split_can_be_looked_at_alone(kitti, capsys):
    shutil.copytree(next((kitti / "splits").iterdir()), kitti / "splits" / "mine")
    list_wrongly_in = next((kitti / "splits").glob("sim*")) / "train_files.txt"
    list_wrongly_in.write_text("nowhere 1 l\n")
    assert run("data", "check", kitti, "--split", "mine") == 0
    assert run("data", "check", kitti) == 2
    assert "splits/sim" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("place", ["folder", "file"])
def test_a_split_outside_the_tree_is_checked_by_its_path(kitti, tmp_path, capsys, place):
    split = shutil.move(next((kitti / "splits").iterdir()), tmp_path / "mine")
    path = split if place == "folder" else split / "train_files.txt"
    assert run("data", "check", kitti, "--split", path) == 0
    assert f"18  frames listed in {split / 'train_files.txt'}" in capsys.readouterr().out
    (split / "train_files.txt").write_text("nowhere 1 l\n")
    assert run("data", "check", kitti, "--split", path) == 2
    assert "1 of its 1 frames are not in the tree" in only_line(capsys.readouterr().err)


def test_lists_of_cityscapes_are_checked_against_its_left_images(tmp_path, capsys):
    write_cityscapes_pair(tmp_path, "train", "ulm_000002_000019")
    (tmp_path / "splits" / "mine").mkdir(parents=True)
    (tmp_path / "splits" / "mine" / "train_files.txt").write_text("ulm ulm_000002_000019\nulm ulm_000009_000019\n")
    assert run("data", "check", tmp_path, "--split", "mine") == 2
    assert "1 of its 2 frames are not in the tree (the first: ulm_000009_000019)" in only_line(capsys.readouterr().err)


def test_a_split_that_is_not_there_is_told_with_those_that_are(kitti, tmp_path, capsys):
    known = next((kitti / "splits").iterdir()).name
    (kitti / "splits" / "bare").mkdir()
    for split, said in (
        ("simm", f"(found: bare, {known}) nor a path. Correct it"),
        (tmp_path / "gone", f"(found: bare, {known}) nor a path. Correct it"),
        ("bare", "has no list of a split"),
    ):
        assert run("data", "check", kitti, "--split", split) == 2
        assert said in only_line(capsys.readouterr().err)


def test_a_split_of_data_that_has_no_lists_is_refused(tmp_path, capsys):
    write_frames(tmp_path)
    assert run("data", "check", tmp_path, "--split", "mine") == 2
    assert "is a folder of frames, which has no split lists. Leave --split out" in only_line(capsys.readouterr().err)


def test_a_pack_is_counted_with_what_it_was_packed_from(kitti, tmp_path, capsys):
    assert run(*pack(kitti, tmp_path / "pack", "--mode", "mono+stereo")) == 0
    capsys.readouterr()
    assert run("data", "check", tmp_path / "pack", "--every-file") == 0
    printed = capsys.readouterr().out
    assert "a training set packed by egodepth data pack" in printed
    assert "18  samples to train" in printed
    assert "2  samples to validate" in printed
    assert "24  frames" in printed
    assert f"packed from {kitti} at 96x64, views -1, 1, stereo" in printed


def lose_pixels(root: Path) -> None:
    (root / "pixels-00000.bin").unlink()


def spoil_pixel(root: Path) -> None:
    content = bytearray((root / "pixels-00000.bin").read_bytes())
    content[5] ^= 1
    (root / "pixels-00000.bin").write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lose_pixels, "pixels-00000.bin: is missing"),
        (lambda root: cut(root / "pixels-00000.bin"), "pixels-00000.bin: has 202753 bytes, expected 405504"),
        (spoil_pixel, "pixels-00000.bin: frame 0 is damaged"),
        (lambda root: (root / "samples-00001.json").unlink(), "has 0 of 2 val samples"),
        (lambda root: cut(root / "samples-00000.json"), "samples-00000.json: is not JSON"),
        (lambda root: cut(root / "pack.json"), "pack.json: is not JSON"),
    ],
    ids=["lost pixels", "cut pixels", "another pixel", "lost samples", "cut samples", "cut manifest"],
)
def test_a_broken_pack_is_told_in_one_line_with_the_remedy(kitti, tmp_path, capsys, spoil, what):
    assert run(*pack(kitti, tmp_path / "pack", "--mode", "mono+stereo")) == 0
    spoil(tmp_path / "pack")
    capsys.readouterr()
    assert run("data", "check", tmp_path / "pack", "--every-file") == 2
    line = only_line(capsys.readouterr().err)
    assert what in line
    assert "Remove the folder and pack again" in line


def test_a_pack_that_is_stale_is_a_fault(kitti, tmp_path, capsys):
    assert run(*pack(kitti, tmp_path / "pack")) == 0
    next(kitti.glob("*/*/image_02/data/*.png")).touch()
    capsys.readouterr()
    assert run("data", "check", tmp_path / "pack") == 2
    assert "is stale: 1 files of" in only_line(capsys.readouterr().err)


# --- data pack -------------------------------------------------------------------------------------------------------


def pack(data: Path, out: Path, *more: object) -> list[str]:
    """The words of `egodepth data pack`."""
    return [str(word) for word in ("data", "pack", "monodepth2", data, "--out", out, *SMALL, *TINY_NETWORKS, *more)]


def test_training_from_a_pack_takes_the_very_steps_of_the_original(kitti, tmp_path, capsys):
    before, out = state(kitti), tmp_path / "pack"
    assert run(*pack(kitti, out, "--mode", "mono+stereo")) == 0
    assert "20 samples" in capsys.readouterr().out
    assert state(kitti) == before
    for data, name in ((kitti, "original"), (out, "packed")):
        assert train(data, tmp_path / name, "--mode", "mono+stereo", "--log-every", 1) == 0
    for column in ("loss", "validation_loss"):
        losses = [logged(tmp_path / name, column) for name in ("original", "packed")]
        assert losses[0] == losses[1]
        assert len(losses[0]) == (2 if column == "loss" else 1)
    original, packed = (load_file(tmp_path / name / RELEASED) for name in ("original", "packed"))
    assert [key for key in original if not torch.equal(original[key], packed[key])] == []


def pack_until_killed(first_part: Path, words: list[str]) -> None:
    """The command, killed by the system at the first frame that it reads after a part is whole."""
    read = FrameStore._read

    def read_or_die(store: FrameStore, number: int) -> object:
        if first_part.is_file():
            os.kill(os.getpid(), signal.SIGKILL)
        return read(store, number)

    FrameStore._read = read_or_die
    main(words)


def test_a_pack_that_was_killed_half_way_is_continued(kitti, tmp_path, capsys):
    before, whole, out = state(kitti), tmp_path / "whole", tmp_path / "pack"
    assert run(*pack(kitti, whole)) == 0
    words = [str(word) for word in pack(kitti, out)]
    process = SERVER.Process(target=pack_until_killed, args=(out / "samples-00000.json", words), daemon=True)
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == -signal.SIGKILL
    assert json.loads((out / "pack.json").read_text())["complete"] is False
    assert train(out, tmp_path / "run") == 2
    assert "not packed to its end" in only_line(capsys.readouterr().err)
    done = {file.name: file.stat().st_mtime_ns for file in out.glob("*-00000.*")}
    assert len(done) == 2
    assert run(*pack(kitti, out)) == 0
    assert {file.name: file.stat().st_mtime_ns for file in out.glob("*-00000.*")} == done
    assert sorted(file.name for file in out.iterdir()) == sorted(file.name for file in whole.iterdir())
    for file in whole.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes(), file.name
    assert state(kitti) == before


def test_a_pack_of_other_options_is_refused_by_what_differs(kitti, tmp_path, capsys):
    assert run(*pack(kitti, tmp_path / "pack")) == 0
    capsys.readouterr()
    stereo = [*SMALL, "--network.encoder", TINY, "--mode", "stereo"]
    assert run("train", "monodepth2", tmp_path / "pack", "--out", tmp_path / "run", *stereo) == 2
    assert "source_ids" in only_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
    assert run(*pack(kitti, kitti / "inside")) == 2
    assert "lies inside the data" in only_line(capsys.readouterr().err)
    assert not (kitti / "inside").exists()


def test_a_pack_of_footage_whose_camera_nobody_knows_trains_as_the_footage_does(tmp_path, caplog):
    write_frames(tmp_path / "walk")
    assert run(*pack(tmp_path / "walk", tmp_path / "pack")) == 0
    assert f"{tmp_path / 'walk'}: the camera is not known, so its focal length is found from the footage" in caplog.text
    assert train(tmp_path / "pack", tmp_path / "run") == 0
    assert f"{tmp_path / 'pack'}: the camera is not known, so its focal length is found from the footage" in caplog.text
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert [camera["name"] for camera in config["learned_cameras"]] == ["96x48"]


def test_packing_footage_leaves_nothing_beside_the_pack(tmp_path, capsys):
    write_frames(tmp_path / "frames")
    words = pack(tmp_path / "frames", tmp_path / "pack", "--mode", "mono")
    assert run(*words, "--intrinsics", "60,60,480,32") == 2
    assert "principal point" in only_line(capsys.readouterr().err)
    assert run(*words, "--intrinsics", "60,60,48,32") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "pack"]
    assert train(tmp_path / "pack", tmp_path / "run", "--mode", "mono") == 0
    # What was refused leaves no unpacked frames either.
    inside = pack(tmp_path / "frames", tmp_path / "frames" / "inside", "--mode", "mono", "--intrinsics", "60,60,48,32")
    before = state(tmp_path / "frames")
    assert run(*inside) == 2
    assert state(tmp_path / "frames").keys() == before.keys()


@pytest.mark.parametrize(
    ("recipe", "option", "size"),
    [
        ("monodepth2", "--height", [32]),
        ("manydepth", "--height", [32]),
        ("sdfa-net-r18", "--width", [40]),
        ("sdfa-net-r18", "--augmentation.crop", [32, 640]),
    ],
)
def test_a_size_that_a_network_cannot_see_is_refused_with_the_smallest(kitti, tmp_path, capsys, recipe, option, size):
    for words in (["train"], ["data", "pack"]):
        assert run(*words, recipe, kitti, "--out", tmp_path / "out", option, *size, "--pretrained", "none") == 2
        line = only_line(capsys.readouterr().err)
        assert f"{option} {size[0]}: must be a multiple of 32, 64 at least. Take 64." in line
        assert not (tmp_path / "out").exists()


# --- reproduce -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_row(monkeypatch) -> PublishedRow:
    """A row that takes seconds, in place of the published ones; one figure was far better, one far worse."""
    monkeypatch.setattr(published, "published_rows", lambda: {"tiny": TINY_ROW})
    return TINY_ROW


def row_line(printed: str, start: str) -> list[str]:
    """The words of a table's row."""
    line = next(line for line in printed.splitlines() if line.strip(" │").startswith(start))
    return line.replace("│", " ").split()


def test_reproduce_lists_the_published_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("reproduce") == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 1 + len(published_rows())
    assert row_line(printed, "dna-depth-b0-640x192 ")[1:] == [
        "dna-depth-b0",
        "eigen",
        "median",
        "0.105",
        "4.489",
        "0.892",
    ]


def test_a_row_is_reproduced_from_training_to_comparison_and_then_listed(
    drive, tmp_path, monkeypatch, capsys, tiny_row
):
    monkeypatch.chdir(tmp_path)
    assert run("reproduce", "tiny", "--data", drive) == 0
    printed = capsys.readouterr().out
    file = Path("runs") / "tiny" / "measured" / "tiny.json"
    assert f"Wrote {file}" in printed
    measured = json.loads(file.read_text())
    metrics = measured["results"][0]["metrics"]
    assert measured["budget"]["steps"] == 2
    assert measured["row"] == "tiny"
    assert row_line(printed, "abs_rel")[-4:] == ["0.001", f"{metrics['abs_rel']:.3f}", "0.003", "worse"]
    assert row_line(printed, "a1")[-4:] == ["0.001", f"{metrics['a1']:.3f}", "0.005", "better"]

    assert run("reproduce") == 0
    listed = row_line(capsys.readouterr().out, "tiny ")
    assert listed[-3:] == [f"{metrics['abs_rel']:.3f}", f"{metrics['rmse']:.3f}", f"{metrics['a1']:.3f}"]

    # What is trained is not trained again, and gives the same figures.
    weights = Path("runs") / "tiny" / RELEASED
    trained = weights.stat().st_mtime_ns
    assert run("reproduce", "tiny", "--data", drive) == 0
    assert weights.stat().st_mtime_ns == trained
    assert json.loads(file.read_text())["results"][0]["metrics"] == metrics


@pytest.mark.parametrize(
    "options",
    [["--options=--seed 3 --steps 1"], ["--options=--seed 3", "--options=--steps '1'"]],
    ids=["in one", "one by one"],
)
def test_options_of_training_go_on_to_the_run_of_a_row(drive, tmp_path, monkeypatch, tiny_row, options):
    monkeypatch.chdir(tmp_path)
    assert run("reproduce", "tiny", "--data", drive, *options) == 0
    assert json.loads((Path("runs") / "tiny" / "run.json").read_text())["training"]["seed"] == 3
    measured = json.loads((Path("runs") / "tiny" / "measured" / "tiny.json").read_text())
    assert (measured["seed"], measured["budget"]["steps"]) == (3, 1)
    assert measured["commands"][0].endswith("--seed 3 --steps 1")


def test_the_help_of_reproduce_names_the_forms_of_options_that_work(capsys):
    assert run("reproduce", "--help") == 0
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert '--options="--seed 3 --steps 100"' in words
    assert '--options="--seed 3" --options="--steps 100"' in words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tiny", "--data", ".", "--options=--seed '3"], "Close the quotes"),
        (["tiny"], "--data"),
        (["small", "--data", "."], "no published row 'small'"),
        (["tiny", "--data", "x"], "no such"),
    ],
    ids=["open quotes", "no data", "no such row", "no such folder"],
)
def test_a_row_that_cannot_be_begun_is_refused_in_one_line(tmp_path, monkeypatch, capsys, tiny_row, words, said):
    monkeypatch.chdir(tmp_path)
    assert run("reproduce", *words) == 2
    assert said in only_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []
