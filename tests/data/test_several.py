"""Several videos and folders as one: each keeps its camera and its held-out part."""

import json

import pytest

from egodepth.data.checking import check_data
from egodepth.data.configurations import DataConfig
from egodepth.data.opening import open_training_sets
from egodepth.data.recognise import recognise
from egodepth.errors import UserError
from tests.command_line import SMALL, TINY_NETWORKS, only_line, run
from tests.data.trees import write_frames, write_video

SIZE = (64, 96)


def opened(first, *beside, intrinsics="fov=60"):
    cache = first.parent / "cache"
    return open_training_sets(first, DataConfig(beside=beside), intrinsics, (-1, 1), *SIZE, cache)


@pytest.fixture
def clips(tmp_path):
    """A folder of a video of 20 frames, one of 12, and one that is too short."""
    folder = tmp_path / "clips"
    folder.mkdir()
    write_video(folder / "2.mp4", range(20))
    write_video(folder / "10.mp4", range(100, 112))
    write_video(folder / "30.mp4", range(2))
    return folder


def test_a_folder_of_videos_is_every_video_in_it(clips):
    assert recognise(clips) == "videos"
    sets = opened(clips)
    # 18 and 10 frames have both neighbours; a tenth of each, one at least, is held out.
    assert (len(sets.training), len(sets.validation)) == (17 + 9, 2)
    assert {sets.training[place].name.split("/")[0] for place in range(26)} == {"2.mp4", "10.mp4"}
    assert {sets.validation[place].name.split("/")[0] for place in range(2)} == {"2.mp4", "10.mp4"}
    assert any("30.mp4: only 2 usable frames" in message for message in sets.left_out)


def test_videos_and_folders_count_by_their_length(clips, tmp_path):
    frames = write_frames(tmp_path / "frames", range(32))
    sets = opened(clips, frames)
    names = [name.split("/")[0] for name in (sets.training[place].name for place in range(len(sets.training)))]
    assert [names.count(part) for part in ("2.mp4", "10.mp4", "frames")] == [17, 9, 27]


def test_each_has_its_own_camera_or_the_one_of_its_folder(clips, tmp_path):
    camera = {"fx": 80, "fy": 80, "cx": 47.5, "cy": 23.5}
    (clips / "camera.json").write_text(json.dumps(camera))
    (clips / "10.json").write_text(json.dumps(camera | {"fx": 160, "fy": 160}))
    sets = opened(clips, intrinsics="calibrated")
    focal = {
        sets.training[place].name.split("/")[0]: float(sets.training[place].intrinsics[0, 0])
        for place in range(len(sets.training))
    }
    assert focal == {"2.mp4": pytest.approx(80 / 96), "10.mp4": pytest.approx(160 / 96)}


def test_where_all_are_too_short_the_first_says_so(tmp_path):
    clip = write_video(tmp_path / "a.mp4", range(2))
    with pytest.raises(UserError, match="only 2 usable frames"):
        opened(clip, write_video(tmp_path / "b.mp4", range(2)))


def test_the_same_twice_is_refused(clips):
    with pytest.raises(UserError, match="is given twice"):
        opened(clips / "2.mp4", clips / "2.mp4")


def test_check_says_of_each_video_what_training_will_do(clips):
    report = check_data(clips)
    assert report.kind == "videos"
    assert report.faults == ()
    assert any("30.mp4" in note and "usable frames" in note for note in report.notes)


def test_folders_within_are_named_not_passed_over(clips):
    write_frames(clips / "more", range(5))
    assert any("more: is not looked into" in note for note in check_data(clips).notes)
    assert any("more: is not looked into" in message for message in opened(clips).left_out)


# --- the commands ---


def test_any_number_of_videos_and_folders_trains_resumes_and_packs(clips, tmp_path, capsys):
    frames = write_frames(tmp_path / "frames", range(16))
    options = ["--fov", 60, *SMALL, *TINY_NETWORKS]
    assert run("train", "monodepth2", clips, frames, "--out", tmp_path / "run", *options) == 0
    options_of_run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert options_of_run["samples"] == 17 + 9 + 13
    assert run("train", "monodepth2", clips, frames, "--out", tmp_path / "run", *options, "--resume") == 0
    capsys.readouterr()
    assert run("train", "monodepth2", clips, "--out", tmp_path / "run", *options, "--resume") == 2
    assert "data.beside" in only_line(capsys.readouterr().err)
    size = ["--height", 64, "--width", 96]
    assert run("data", "pack", "monodepth2", clips, frames, "--out", tmp_path / "pack", "--fov", 60, *size) == 0
    assert run("train", "monodepth2", tmp_path / "pack", "--out", tmp_path / "packed", *options) == 0
    capsys.readouterr()
    write_frames(frames, range(40, 57))
    assert run("train", "monodepth2", tmp_path / "pack", "--out", tmp_path / "stale", *options) == 2
    assert "is stale" in only_line(capsys.readouterr().err)


def test_no_data_is_a_mistake_of_the_call(tmp_path, capsys):
    assert run("train", "monodepth2", "--out", tmp_path / "run", *SMALL) == 2
    assert "DATA is missing" in only_line(capsys.readouterr().err)
