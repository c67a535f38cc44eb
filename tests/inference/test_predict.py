"""A prediction run: files in, files out, whatever happens on the way."""

import errno
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predict import predict
from egodepth.inference.predictor import ModelFacts, Predictor
from egodepth.inference.video import SteadyRange

HEIGHT, WIDTH = 32, 64


class BrightIsNear(nn.Module):
    """A stand-in network: depth 1 to 11, the brighter the nearer. It can end the run at a call of one's choice."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        super().__init__()
        self.calls = 0
        self.interrupt_at = interrupt_at

    def predict_depth(self, image: Tensor) -> Tensor:
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        self.calls += 1
        return 1 + 10 * (1 - image.mean(dim=1, keepdim=True))


class Neighbours(nn.Module):
    """A stand-in that looks around: depth whose decimal digits are the levels of the pictures that it was given."""

    def __init__(self, *moments: int) -> None:
        super().__init__()
        self.time_offsets, self.frames = moments, 1 + len(moments)

    def predict_depth(self, image: Tensor) -> Tensor:
        levels = (image[:, ::3] * 255).round()
        places = 10.0 ** torch.arange(self.frames - 1, -1, -1)
        return (levels * places[:, None, None]).sum(1, keepdim=True) + 1e-6


def a_predictor(metres_per_unit: float | None = 2.0, interrupt_at: int | None = None) -> Predictor:
    return NetworkPredictor(BrightIsNear(interrupt_at), ModelFacts(HEIGHT, WIDTH, metres_per_unit))


def picture(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def save_folder(folder: Path, count: int = 5, height: int = 20, width: int = 30) -> Path:
    for index in range(count):
        save(folder / f"{index}.png", picture(height, width, index))
    return folder


def save_video(path: Path, count: int = 9, height: int = 34, width: int = 66, rate: Fraction = Fraction(12)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(count):
            level = np.full((height, width, 3), 20 * index % 256, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        container.mux(stream.encode())
    return path


def read_video(path: Path) -> tuple[np.ndarray, Fraction]:
    """All frames (N, H, W, 3) and the frame rate."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames), container.streams.video[0].average_rate


def everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [(7, 5), (33, 47)])
def test_npy_holds_metres_at_the_size_of_the_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    image = picture(*size)
    report = predict(a_predictor(), [save(tmp_path / "a.png", image)], tmp_path / "out", "npy", progress=False)
    depth = np.load(tmp_path / "out" / "a.npy")
    assert report.written == (tmp_path / "out" / "a.npy",)
    assert report.is_metric
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, a_predictor().predict_images([image])[0])


def test_png16_holds_metres_times_256(tmp_path: Path) -> None:
    image = picture()
    predict(a_predictor(), [save(tmp_path / "a.png", image)], tmp_path / "out", "png16", progress=False)
    stored = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert stored.dtype == np.uint16
    np.testing.assert_allclose(stored / 256, a_predictor().predict_images([image])[0], atol=0.5001 / 256)


def test_png16_clips_what_it_cannot_hold_and_never_says_no_value(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", picture())
    for scale, expected in ((1e6, 65535), (1e-6, 1)):
        predict(a_predictor(), [path], tmp_path / "out", "png16", scale=scale, progress=False)
        assert np.unique(np.asarray(Image.open(tmp_path / "out" / "a.png"))).tolist() == [expected]


def test_png16_of_a_model_without_a_scale_asks_for_one(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", picture())
    with pytest.raises(UserError, match="--scale"):
        predict(a_predictor(None), [path], tmp_path / "out", "png16", progress=False)
    assert not (tmp_path / "out").exists()
    report = predict(a_predictor(None), [path], tmp_path / "out", "png16", scale=3.0, progress=False)
    stored = np.asarray(Image.open(report.written[0]))
    np.testing.assert_allclose(stored / 256, 3 * a_predictor(None).predict_images([picture()])[0], atol=0.51 / 256)


def test_the_report_says_when_depth_is_up_to_scale(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", picture())
    assert not predict(a_predictor(None), [path], tmp_path / "out", "npy", progress=False).is_metric


def test_color_is_brighter_where_it_is_nearer(tmp_path: Path) -> None:
    image = np.zeros((40, 80, 3), dtype=np.uint8)
    image[:, 40:] = 255
    predict(a_predictor(), [save(tmp_path / "a.png", image)], tmp_path / "out", "color", progress=False)
    colours = np.asarray(Image.open(tmp_path / "out" / "a.png")).astype(int)
    assert colours.shape == (40, 80, 3)
    assert colours[20, 70].sum() > colours[20, 10].sum() + 300


def test_batches_cover_every_picture_and_a_second_run_adds_to_the_first(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "frames", count=5)
    predictor = a_predictor()
    report = predict(predictor, [folder], tmp_path / "out", "npy", batch_size=2, progress=False)
    assert predictor.network.calls == 3
    assert [path.name for path in report.written] == [f"{index}.npy" for index in range(5)]
    (tmp_path / "out" / "0.npy").write_bytes(b"old")
    predict(a_predictor(), [folder], tmp_path / "out", "color", progress=False)
    predict(a_predictor(), [folder / "0.png"], tmp_path / "out", "npy", progress=False)
    assert len(everything_below(tmp_path / "out")) == 10
    assert np.load(tmp_path / "out" / "0.npy").shape == (20, 30)


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ((), [1, 2, 3, 4]),
        ((-1,), [10, 21, 32, 43]),
        ((-1, 1), [102, 213, 324, 430]),
        ((-2, -1), [100, 201, 312, 423]),
        ((1, 2), [123, 234, 340, 400]),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_network_that_looks_around_gets_the_frames_around_each(
    tmp_path: Path, moments: tuple[int, ...], expected: list[int], batch_size: int
) -> None:
    for name in ("first", "second"):
        for level in range(1, 5):
            save(tmp_path / name / f"{level}.png", np.full((HEIGHT, WIDTH, 3), level, dtype=np.uint8))
    inputs = [tmp_path / "first", tmp_path / "second"]
    report = predict(
        NetworkPredictor(Neighbours(*moments), ModelFacts(HEIGHT, WIDTH)),
        inputs,
        tmp_path / "out",
        "npy",
        batch_size,
        progress=False,
    )
    found = [round(float(np.load(path)[0, 0])) for path in report.written]
    assert found == expected * 2


def test_the_frame_after_is_read_from_a_video_too(tmp_path: Path) -> None:
    video = save_video(tmp_path / "drive.mp4", count=4)
    report = predict(
        NetworkPredictor(Neighbours(1), ModelFacts(HEIGHT, WIDTH)), [video], tmp_path / "out", "npy", progress=False
    )
    found = [float(np.load(path).mean()) for path in report.written]
    assert found == pytest.approx([20, 240, 460, 600], abs=40)
    written = predict(
        NetworkPredictor(Neighbours(-1, 1), ModelFacts(HEIGHT, WIDTH)),
        [video],
        tmp_path / "out",
        "video",
        progress=False,
    ).written
    assert len(read_video(written[0])[0]) == 4


def test_pictures_of_equal_name_do_not_replace_each_other(tmp_path: Path) -> None:
    paths = [save(tmp_path / side / "1.png", picture()) for side in ("left", "right")]
    predict(a_predictor(), paths, tmp_path / "out", "npy", progress=False)
    assert everything_below(tmp_path / "out") == ["left/1.npy", "right/1.npy"]


def test_an_input_is_never_replaced(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "frames", count=2)
    before = (folder / "0.png").read_bytes()
    with pytest.raises(UserError, match="one of the inputs"):
        predict(a_predictor(), [folder], folder, "color", progress=False)
    assert (folder / "0.png").read_bytes() == before


def spoil(folder: Path) -> dict[str, Path]:
    """Put one of each kind of broken picture into a folder."""
    whole = folder / "whole.jpg"
    save(whole, picture(200, 300))
    (folder / "truncated.jpg").write_bytes(whole.read_bytes()[:3000])
    whole.unlink()
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not a picture")
    return {name: folder / name for name in ("empty.png", "text.png", "truncated.jpg")}


def test_broken_pictures_in_a_folder_are_skipped_and_named(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "frames", count=3)
    broken = spoil(folder)
    report = predict(a_predictor(), [folder], tmp_path / "out", "npy", progress=False)
    assert len(report.written) == 3
    assert {skipped.path for skipped in report.skipped} == set(broken.values())
    assert all(str(skipped.path) in skipped.reason for skipped in report.skipped)


@pytest.mark.parametrize("name", ["empty.png", "text.png", "truncated.jpg"])
def test_a_broken_picture_named_alone_is_refused_by_name(tmp_path: Path, name: str) -> None:
    broken = spoil(save_folder(tmp_path / "frames", count=1))
    with pytest.raises(UserError, match=name):
        predict(a_predictor(), [broken[name]], tmp_path / "out", "npy", progress=False)


def test_a_folder_of_nothing_but_broken_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    spoil(tmp_path / "frames")
    with pytest.raises(UserError, match="none of the 3 inputs"):
        predict(a_predictor(), [tmp_path / "frames"], tmp_path / "out", "npy", progress=False)


def test_frames_of_a_video_become_numbered_files(tmp_path: Path) -> None:
    path = save_video(tmp_path / "drive.mp4", count=5)
    predict(a_predictor(), [path], tmp_path / "out", "npy", batch_size=2, progress=False)
    assert everything_below(tmp_path / "out") == [f"drive/{index:06d}.npy" for index in range(5)]
    assert np.load(tmp_path / "out" / "drive" / "000004.npy").shape == (34, 66)


@pytest.mark.parametrize(("size", "expected"), [((34, 66), (68, 66)), ((66, 34), (66, 68)), ((48, 48), (48, 96))])
def test_a_video_keeps_its_frames_and_rate_and_doubles_its_short_side(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    rate = Fraction(30000, 1001)
    path = save_video(tmp_path / "drive.mp4", 9, *size, rate=rate)
    report = predict(a_predictor(), [path], tmp_path / "out", "video", progress=False)
    frames, found_rate = read_video(report.written[0])
    assert report.written == (tmp_path / "out" / "drive.mp4",)
    assert frames.shape == (9, *expected, 3)
    assert found_rate == rate
    assert np.abs(frames[:, 10, 10].mean(axis=-1) - 20 * np.arange(9)).max() < 12


def test_a_video_of_one_frame_gives_a_video_of_one_frame(tmp_path: Path) -> None:
    path = save_video(tmp_path / "drive.mp4", count=1)
    report = predict(a_predictor(), [path], tmp_path / "out", "video", progress=False)
    assert read_video(report.written[0])[0].shape[0] == 1


def test_a_folder_of_frames_gives_one_video_at_ten_frames_a_second(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "frames", count=7, height=21, width=33)
    report = predict(a_predictor(), [folder], tmp_path / "out", "video", progress=False)
    frames, rate = read_video(tmp_path / "out" / "frames.mp4")
    assert report.written == (tmp_path / "out" / "frames.mp4",)
    assert frames.shape == (7, 42, 34, 3)  # 33 columns are padded to an even number
    assert rate == 10


def test_a_picture_of_another_size_does_not_enter_a_video(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "frames", count=3)
    other = save(folder / "9.png", picture(50, 40))
    report = predict(a_predictor(), [folder], tmp_path / "out", "video", progress=False)
    assert read_video(report.written[0])[0].shape[0] == 3
    assert [skipped.path for skipped in report.skipped] == [other]
    assert "40x50" in report.skipped[0].reason


def test_a_video_shows_its_frames_when_its_source_does(tmp_path: Path) -> None:
    stamps = [0, 33, 67, 100, 300, 500, 700, 733]
    path = tmp_path / "drive.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 66, 34, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((34, 66, 3), 20 * index, dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    report = predict(a_predictor(), [path], tmp_path / "out", "video", progress=False)
    with av.open(str(report.written[0])) as container:
        assert [round(1000 * frame.time) for frame in container.decode(video=0)] == stamps
    assert report.skipped == ()


def zooming_video(folder: Path) -> Path:
    """Nine frames of 66x34, then nine of 48x32."""
    pieces = [save_video(folder / "a.ts", 9, 34, 66), save_video(folder / "b.ts", 9, 32, 48)]
    (folder / "zoom.ts").write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    return folder / "zoom.ts"


def test_frames_of_another_size_are_each_written_at_their_own(tmp_path: Path) -> None:
    report = predict(a_predictor(), [zooming_video(tmp_path)], tmp_path / "out", "npy", progress=False)
    shapes = [np.load(path).shape for path in report.written]
    assert set(shapes) == {(34, 66), (32, 48)}
    assert shapes == sorted(shapes, reverse=True)


def test_frames_of_another_size_do_not_enter_a_video_and_are_named(tmp_path: Path) -> None:
    path = zooming_video(tmp_path)
    report = predict(a_predictor(), [path], tmp_path / "out", "video", progress=False)
    frames, _ = read_video(report.written[0])
    assert frames.shape[1:] == (68, 66, 3)
    assert 8 <= len(frames) <= 9
    assert any("9 frames of 48x32 are left out" in skipped.reason for skipped in report.skipped)


@pytest.mark.parametrize("container", ["avi", "mkv"])
def test_a_video_that_breaks_off_is_used_up_to_there_and_named(tmp_path: Path, container: str) -> None:
    content = save_video(tmp_path / f"whole.{container}", count=200).read_bytes()
    broken = tmp_path / f"broken.{container}"
    broken.write_bytes(content[: len(content) * 6 // 10])
    report = predict(a_predictor(), [broken], tmp_path / "out", "video", progress=False)
    assert 50 < read_video(report.written[0])[0].shape[0] < 180
    assert [skipped.path for skipped in report.skipped] == [broken]
    assert "the file is cut short" in report.skipped[0].reason


def test_a_broken_video_among_others_is_skipped_and_named(tmp_path: Path) -> None:
    save_video(tmp_path / "whole.mp4", count=3)
    (tmp_path / "broken.mp4").write_text("not a video")
    report = predict(a_predictor(), [tmp_path], tmp_path / "out", "video", progress=False)
    assert [path.name for path in report.written] == ["whole.mp4"]
    assert [skipped.path.name for skipped in report.skipped] == ["broken.mp4"]


def test_a_file_that_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "drive.mp4").write_text("not a video")
    for format in ("video", "npy"):
        with pytest.raises(UserError, match=r"drive\.mp4"):
            predict(a_predictor(), [tmp_path / "drive.mp4"], tmp_path / "out", format, progress=False)
        assert not (tmp_path / "out").exists() or everything_below(tmp_path / "out") == []


@pytest.mark.parametrize(("format", "expected"), [("npy", ["0.npy", "1.npy", "2.npy", "3.npy"]), ("video", [])])
def test_an_interrupted_run_leaves_whole_files_only(tmp_path: Path, format: str, expected: list[str]) -> None:
    folder = save_folder(tmp_path / "frames", count=9)
    with pytest.raises(KeyboardInterrupt):
        predict(a_predictor(interrupt_at=2), [folder], tmp_path / "out", format, batch_size=2, progress=False)
    assert everything_below(tmp_path / "out") == expected
    for name in expected:
        assert np.load(tmp_path / "out" / name).shape == (20, 30)


@pytest.mark.parametrize("format", ["npy", "png16", "color", "video"])
def test_a_disk_that_is_full_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    """The system reports a full disk at the latest when the bytes are brought to it: there it does so here."""
    folder = save_folder(tmp_path / "frames", count=2)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        predict(a_predictor(), [folder], tmp_path / "out", format, progress=False)
    assert everything_below(tmp_path / "out") == []


FILL_A_SMALL_DISK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_predict import a_predictor
from egodepth.errors import UserError
from egodepth.inference.predict import predict
for format in ("npy", "png16", "color", "video"):
    out = Path(sys.argv[3]) / format
    try:
        predict(a_predictor(), [sys.argv[2]], out, format, progress=False)
    except UserError as error:
        print(format, error, [path.name for path in out.rglob(".*")])
"""


def test_a_small_disk_that_fills_up_is_one_clear_line(tmp_path: Path) -> None:
    """A file system of 16 kB, where the system lets one be mounted without rights."""
    mounted = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        'mount -t tmpfs -o size=16k none "$0" && exec "$@"',
        str(tmp_path / "disk"),
    ]
    (tmp_path / "disk").mkdir()
    if shutil.which("unshare") is None or subprocess.run([*mounted, "true"], capture_output=True).returncode:
        pytest.skip("this system does not let an ordinary process mount a file system")
    folder = save_folder(tmp_path / "frames", count=3, height=200, width=300)
    command = [sys.executable, "-c", FILL_A_SMALL_DISK, str(Path(__file__).parent), str(folder), str(tmp_path / "disk")]
    result = subprocess.run([*mounted, *command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 4, result.stdout
    for format, line in zip(("npy", "png16", "color", "video"), lines, strict=True):
        assert line.startswith(format)
        assert "the disk is full" in line
        assert line.endswith("[]")


def test_a_file_in_the_place_of_the_output_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="out: is a file"):
        predict(a_predictor(), [save(tmp_path / "a.png", picture())], tmp_path / "out", "npy", progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "--batch-size"),
        ({"scale": -1.0}, "--scale"),
        ({"format": "jpg"}, "npy, png16, color, ply, las, pcd, video"),
    ],
)
def test_options_without_a_meaning_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    path = save(tmp_path / "a.png", picture())
    with pytest.raises(UserError, match=message):
        predict(a_predictor(), [path], tmp_path / "out", **{"format": "npy", "progress": False} | options)


def test_the_progress_bar_stays_out_of_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    predict(a_predictor(), [save(tmp_path / "a.png", picture())], tmp_path / "out", "npy")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1/1" in captured.err


def test_the_colour_range_of_a_video_follows_slowly() -> None:
    colours = SteadyRange()
    still = np.linspace(0.1, 1.0, 100)
    first = colours.update(still)
    assert colours.update(still) == pytest.approx(first)
    jumped = colours.update(10 * still)
    assert jumped[1] == pytest.approx(first[1] * (1 + 0.05 * 9))
    for _ in range(200):
        settled = colours.update(10 * still)
    assert settled[1] == pytest.approx(10 * first[1], rel=1e-3)


def test_a_video_whose_name_leads_out_of_the_folder_writes_nothing_there(tmp_path: Path) -> None:
    footage = save_video(tmp_path / "footage.mp4").rename(tmp_path / "...mp4")
    with pytest.raises(UserError, match="outside"):
        predict(a_predictor(), [footage], tmp_path / "out" / "depth", "npy", progress=False)
    assert not list((tmp_path / "out").glob("*.npy"))


@pytest.mark.parametrize("format", ["npy", "video"])
def test_a_second_call_does_only_what_is_missing(tmp_path: Path, format: str) -> None:
    for name in ("a", "b"):
        save_video(tmp_path / f"{name}.mp4", count=3)
    videos, out = [tmp_path / "a.mp4", tmp_path / "b.mp4"], tmp_path / "out"
    predict(a_predictor(), videos[:1], out, format, progress=False)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    report = predict(a_predictor(), videos, out, format, progress=False, resume=True)
    assert report.done_before == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(report.written) == len(before)
    whole = predict(a_predictor(), videos, out, format, progress=False, resume=True)
    assert (whole.done_before, whole.written) == (2, ())


def test_a_video_of_which_frames_are_missing_is_done_again(tmp_path: Path) -> None:
    video, out = save_video(tmp_path / "a.mp4", count=3), tmp_path / "out"
    predict(a_predictor(), [video], out, "npy", progress=False)
    (out / "a" / "000001.npy").unlink()
    assert len(predict(a_predictor(), [video], out, "npy", progress=False, resume=True).written) == 3
