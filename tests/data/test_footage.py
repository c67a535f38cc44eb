import json
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from egodepth.data.footage import unpacking
from egodepth.data.footage.camera import footage_camera, parse_intrinsics
from egodepth.data.footage.dataset import Footage
from egodepth.data.footage.unpacking import unpack
from egodepth.data.footage.video import read_video_frames, video_info
from egodepth.data.joint import JointDataset
from egodepth.data.loading import StepSampler, make_loader, sequential_batches
from egodepth.errors import UserError
from egodepth.geometry.cameras import Camera, pinhole
from tests.data.trees import FRAME_SIZE, moving_scene, write_frames, write_video

HEIGHT, WIDTH = FRAME_SIZE

CAMERA = Camera(pinhole(80.0, 80.0, 47.5, 23.5), HEIGHT, WIDTH)


def footage(path, tmp_path, **options):
    return Footage(path, (-1, 1), HEIGHT, WIDTH, CAMERA, tmp_path / "cache", **options)


def targets(dataset):
    return [int(dataset[index].name.split("/")[-1]) for index in range(len(dataset))]


# --- samples ---


def test_frames_of_a_folder_are_taken_in_natural_order(tmp_path):
    dataset = footage(write_frames(tmp_path / "drive"), tmp_path)
    sample = dataset[4]
    views = (sample.target, *sample.sources)
    for view, frame in zip(views, (5, 4, 6), strict=True):
        assert np.array_equal(view.permute(1, 2, 0).numpy(), moving_scene(frame))
    assert np.array_equal(sample.intrinsics, CAMERA.normalised())


def test_the_end_of_short_footage_validates_and_nothing_is_used_twice(tmp_path):
    folder = write_frames(tmp_path / "drive", range(22))
    train = targets(footage(folder, tmp_path))
    val = targets(footage(folder, tmp_path, stage="val"))
    assert train == list(range(1, 19))
    assert val == [19, 20]


def test_a_stride_pairs_frames_that_are_further_apart(tmp_path):
    sample = footage(write_frames(tmp_path / "drive"), tmp_path, stride=3)[0]
    views = (sample.target, *sample.sources)
    for view, frame in zip(views, (3, 0, 6), strict=True):
        assert np.array_equal(view.permute(1, 2, 0).numpy(), moving_scene(frame))


SLOW = [number / 4 for number in range(40)]
"""Frames of a scene that slides by 0.8 % of the width from one to the next."""


def sources_of(batches) -> dict[int, list[tuple[int, ...]]]:
    """How many frames away each sample's sources are of the target, each time that it was read."""
    scene = [moving_scene(frame) for frame in SLOW]
    found: dict[int, list[tuple[int, ...]]] = {}
    for batch in batches:
        for place, target, views in zip(batch.indices.tolist(), batch.target, batch.sources, strict=True):
            own, *others = (
                next(number for number, each in enumerate(scene) if np.array_equal(view.permute(1, 2, 0), each))
                for view in (target, *views)
            )
            found.setdefault(place, []).append(tuple(other - own for other in others))
    return found


def test_neighbours_are_drawn_anew_for_each_sample_and_epoch_by_the_seed(tmp_path):
    folder = write_frames(tmp_path / "drive", SLOW)
    nearest, drawn = footage(folder, tmp_path), footage(folder, tmp_path, offsets="drawn")
    assert list(drawn.sample_names()) == list(nearest.sample_names())
    assert drawn.neighbours == nearest.neighbours

    def read(dataset, start=0, workers=0, seed=3):
        sampler = StepSampler(len(dataset), 4, 0, start, 24)
        return sources_of(make_loader(dataset, sampler, workers, seed=seed))

    found = read(drawn)
    for place, sources in found.items():
        position = drawn._targets[place]
        for found_before, found_after in sources:
            first, last = drawn.neighbours[position], drawn.farthest[position]
            assert last[0] <= position + found_before <= first[0]
            assert first[1] <= position + found_after <= last[1]
    offsets = [each for sources in found.values() for each in sources]
    assert {before for before, _ in offsets} == {-2, -3, -4, -5}
    assert {after for _, after in offsets} == {2, 3, 4, 5}
    assert any(after != -before for before, after in offsets)
    assert any(len(set(sources)) > 1 for sources in found.values())
    # A run that goes on, and one with other loading processes, draw the same; another seed others.
    later = read(drawn, start=12)
    assert all(sources == found[place][-len(sources) :] for place, sources in later.items())
    assert read(drawn, workers=1) == found
    assert read(drawn, seed=4) != found
    assert {each for sources in read(nearest).values() for each in sources} == {(-2, 2)}


def test_validation_takes_the_nearest_neighbours_and_several_videos_draw_each(tmp_path):
    folder = write_frames(tmp_path / "drive", SLOW)
    held_out = footage(folder, tmp_path, stage="val", offsets="drawn")
    batches = make_loader(held_out, sequential_batches(len(held_out), 2), 0)
    assert {each for sources in sources_of(batches).values() for each in sources} == {(-2, 2)}
    both = JointDataset([footage(folder, tmp_path), footage(folder, tmp_path, offsets="drawn")])
    found = sources_of(make_loader(both, sequential_batches(len(both), 4), 0, seed=0))
    half = len(both) // 2
    assert {each for place, sources in found.items() if place < half for each in sources} == {(-2, 2)}
    assert len({each for place, sources in found.items() if place >= half for each in sources}) > 3


def test_drawn_neighbours_and_a_stride_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"--data.stride 2: --data.offsets drawn"):
        footage(write_frames(tmp_path / "drive"), tmp_path, stride=2, offsets="drawn")


def test_a_video_gives_its_frames_as_samples(tmp_path):
    dataset = footage(write_video(tmp_path / "drive.mp4"), tmp_path)
    assert targets(dataset) == list(range(1, 10))
    assert dataset[0].target.shape == (3, HEIGHT, WIDTH)


def test_footage_is_unpacked_once_for_each_size(tmp_path):
    folder = write_frames(tmp_path / "drive")
    first = unpack(folder, tmp_path / "cache", 32, 64)
    written = first.frames[0].stat().st_mtime_ns
    assert unpack(folder, tmp_path / "cache", 32, 64) == first
    assert first.frames[0].stat().st_mtime_ns == written
    assert unpack(folder, tmp_path / "cache", 64, 64).frames[0].parent != first.frames[0].parent


def test_changed_footage_is_unpacked_again(tmp_path):
    folder = write_frames(tmp_path / "drive")
    assert len(unpack(folder, tmp_path / "cache", 32, 64).frames) == 12
    (folder / "11.png").unlink()
    assert len(unpack(folder, tmp_path / "cache", 32, 64).frames) == 11


def test_an_interrupted_unpacking_leaves_nothing_behind(tmp_path, monkeypatch):
    folder = write_frames(tmp_path / "drive")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(unpacking, "encode_png", interrupt)
        with pytest.raises(KeyboardInterrupt):
            unpack(folder, tmp_path / "cache", 32, 64)
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(unpack(folder, tmp_path / "cache", 32, 64).frames) == 12


def test_frames_of_a_standing_camera_are_left_out_and_counted(tmp_path):
    folder = write_frames(tmp_path / "drive", [0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 7])
    dataset = footage(folder, tmp_path)
    assert dataset.left_out == [f"{folder}: 3 frames in which the camera stands still are left out."]
    assert targets(dataset) == [1, 2, 3, 7, 8]


def test_footage_of_a_standing_camera_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"only 1 usable frames.*9 frames in which the camera stands still"):
        footage(write_frames(tmp_path / "drive", [0] * 10), tmp_path)


def test_a_broken_frame_is_reported_and_no_pair_reaches_across_it(tmp_path):
    folder = write_frames(tmp_path / "drive")
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:300])
    (folder / "9.png").write_bytes(b"")
    dataset = footage(folder, tmp_path)
    assert [report.split(": ")[0] for report in dataset.left_out] == [str(folder / "5.png"), str(folder / "9.png")]
    assert targets(dataset) + targets(footage(folder, tmp_path, stage="val")) == [1, 2, 3, 7]


def test_images_of_another_size_are_left_out_by_name(tmp_path):
    folder = write_frames(tmp_path / "drive")
    Image.fromarray(moving_scene(0, 20, 30)).save(folder / "7.png")
    dataset = footage(folder, tmp_path)
    assert dataset.left_out == [f"{folder / '7.png'}: is 30x20 where most frames are 96x48; left out."]
    assert 6 not in targets(dataset)
    assert 8 not in targets(dataset)


def test_a_video_with_one_frame_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"one\.mp4: only 1 usable frames, training needs at least 3"):
        footage(write_video(tmp_path / "one.mp4", [0]), tmp_path)


def test_a_folder_of_broken_images_is_refused(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    (folder / "1.png").write_text("text")
    with pytest.raises(UserError, match="none of its 1 images can be read"):
        footage(folder, tmp_path)


def test_stereo_is_refused(tmp_path):
    with pytest.raises(UserError, match="--mode mono"):
        Footage(tmp_path, (-1, 1, "stereo"), 32, 64, CAMERA, tmp_path)


# --- videos ---


def test_a_video_tells_its_size_rate_and_length(tmp_path):
    info = video_info(write_video(tmp_path / "a.mp4", size=(34, 62)))
    assert (info.height, info.width, info.frames_per_second, info.frames) == (34, 62, Fraction(10), 12)


def test_decoded_frames_look_like_those_written(tmp_path):
    frames = list(read_video_frames(write_video(tmp_path / "a.mp4")))
    assert len(frames) == 12
    assert frames[5].dtype == np.uint8
    assert np.abs(frames[5].astype(int) - moving_scene(5)).mean() < 12


def test_a_video_that_is_cut_short_gives_the_frames_before_the_cut(tmp_path):
    path = write_video(tmp_path / "a.avi", range(60))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 10 < len(list(read_video_frames(path))) < 60


def test_a_video_that_a_phone_recorded_upright_is_turned(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    # The display matrix of the track header; these nine numbers ask for a quarter turn clockwise.
    matrix = content.index(b"tkhd") + 44
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, HEIGHT << 16, 0, 1 << 30)
    path.write_bytes(content)
    frame = next(read_video_frames(path))
    assert np.abs(frame.astype(int) - np.rot90(moving_scene(0), -1)).mean() < 12
    assert (video_info(path).height, video_info(path).width) == (WIDTH, HEIGHT)


def test_a_video_with_a_broken_piece_gives_the_frames_around_it(tmp_path):
    path = write_video(tmp_path / "a.avi", range(60))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)
    assert len(list(read_video_frames(path))) > 30


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("not a video" * 100), "not a video"),
    ],
)
def test_a_file_that_is_no_video_is_reported_by_name(tmp_path, spoil, word):
    spoil(tmp_path / "a.mp4")
    with pytest.raises(UserError, match=rf"a\.mp4: .*{word}"):
        video_info(tmp_path / "a.mp4")
    with pytest.raises(UserError, match=rf"a\.mp4: .*{word}"):
        list(read_video_frames(tmp_path / "a.mp4"))


# --- cameras ---


def test_intrinsics_are_read_from_text():
    assert parse_intrinsics("721.5, 720,609.6,172") == (721.5, 720, 609.6, 172)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "0,1,1,1", "-5,1,1,1", "nan,1,1,1", "1,1,inf,1"])
def test_intrinsics_of_another_form_are_refused(text):
    with pytest.raises(UserError, match="--intrinsics"):
        parse_intrinsics(text)


@pytest.mark.parametrize("place", ["drive/camera.json", "drive.json", "camera.json"])
def test_a_camera_file_is_found_in_or_beside_the_footage(tmp_path, place):
    path = write_frames(tmp_path / "drive") if place.startswith("drive/") else write_video(tmp_path / "drive.mp4")
    (tmp_path / place).write_text(json.dumps({"fx": 90, "fy": 91, "cx": 48, "cy": 24}))
    camera = footage_camera(path)
    assert (camera.height, camera.width) == (HEIGHT, WIDTH)
    assert camera.intrinsics.flatten().tolist() == [90, 0, 48, 0, 91, 24, 0, 0, 1]


def test_a_camera_calibrated_at_another_size_is_rescaled(tmp_path):
    folder = write_frames(tmp_path / "drive")
    entries = {"fx": 180, "fy": 180, "cx": 95.5, "cy": 47.5, "width": 2 * WIDTH, "height": 2 * HEIGHT}
    (folder / "camera.json").write_text(json.dumps(entries))
    assert footage_camera(folder).intrinsics.flatten().tolist() == [90, 0, 47.5, 0, 90, 23.5, 0, 0, 1]


def test_given_intrinsics_go_before_a_camera_file(tmp_path):
    folder = write_frames(tmp_path / "drive")
    (folder / "camera.json").write_text("{}")
    assert footage_camera(folder, "50,50,48,24").intrinsics[0, 0] == 50


def test_without_a_camera_both_ways_to_give_one_are_named(tmp_path):
    with pytest.raises(UserError, match=r"--intrinsics fx,fy,cx,cy .*camera\.json"):
        footage_camera(write_frames(tmp_path / "drive"))


@pytest.mark.parametrize("text", ["{}", "[1, 2]", "no json", '{"fx": 0, "fy": 1, "cx": 1, "cy": 1}', '{"fx": "wide"}'])
def test_a_camera_file_of_another_form_is_reported_by_name(tmp_path, text):
    folder = write_frames(tmp_path / "drive")
    (folder / "camera.json").write_text(text)
    with pytest.raises(UserError, match=r"camera\.json: expected"):
        footage_camera(folder)


@pytest.mark.realdata
def test_real_footage_is_read(tmp_path):
    video = Path(__file__).parents[2].parent / "shared" / "data" / "footage" / "drive.mp4"
    if not video.is_file():
        pytest.skip("the sample footage is not beside the repository")
    camera = footage_camera(video, "721,721,609,172")
    dataset = Footage(video, (-1, 1), 96, 320, camera, tmp_path)
    assert (camera.height, camera.width) == (374, 1242)
    assert dataset.left_out == []
    # Neighbours are mostly one frame apart.
    assert len(dataset) == 80
