"""Several videos and folders as one: each keeps its camera and its held-out part."""

import json

import pytest

from egodepth.data.checking import check_data
from egodepth.data.configurations import DataConfig
from egodepth.data.footage.unpacking import unpack
from egodepth.data.opening import open_training_sets
from egodepth.data.packs.source import source_identity
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


def test_footage_without_a_camera_shares_one_among_frames_of_its_size_or_has_its_own(clips, tmp_path):
    (clips / "10.json").write_text(json.dumps({"fx": 160, "fy": 160, "cx": 47.5, "cy": 23.5}))
    beside = write_video(tmp_path / "c.mp4", range(30, 42)), write_frames(tmp_path / "frames", range(12), (64, 96))
    sets = opened(clips, *beside, intrinsics="learned")
    assert [(camera.name, camera.footage) for camera in sets.learning] == [
        ("96x48", ("2.mp4", "c.mp4")),
        ("96x64", ("frames",)),
    ]
    for camera, (height, width) in zip(sets.learning, ((48, 96), (64, 96)), strict=True):
        assert float(camera.start[0, 0] * width) == pytest.approx(float(camera.start[1, 1] * height))  # square pixels
    seen = {sample.name.split("/")[0]: sample for sample in map(sets.training.__getitem__, range(len(sets.training)))}
    assert {name: sample.learned_camera for name, sample in seen.items()} == {
        "2.mp4": "96x48",
        "10.mp4": None,
        "c.mp4": "96x48",
        "frames": "96x64",
    }
    assert float(seen["10.mp4"].intrinsics[0, 0]) == pytest.approx(160 / 96)

    each = opened(clips, *beside, intrinsics="learned-each")
    assert [camera.name for camera in each.learning] == ["2.mp4", "c.mp4", "frames"]
    (tmp_path / "more").mkdir()
    again = write_video(tmp_path / "more" / "c.mp4", range(12))
    with pytest.raises(UserError, match=r"2 of DATA are called c\.mp4"):
        opened(clips, *beside, again, intrinsics="learned-each")


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
    frames = write_frames(tmp_path / "frames", range(16), (64, 96))
    (clips / "10.json").write_text(json.dumps({"fx": 160, "fy": 160, "cx": 47.5, "cy": 23.5}))
    learning = ["--intrinsics", "learned", "--learned-camera.no-insist"]
    options = [*learning, *SMALL, *TINY_NETWORKS]
    assert run("train", "monodepth2", clips, frames, "--out", tmp_path / "run", *options) == 0
    options_of_run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert options_of_run["samples"] == 17 + 9 + 13
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert [(each["name"], each["footage"]) for each in config["learned_cameras"]] == [
        ("96x48", ["2.mp4"]),
        ("96x64", ["frames"]),
    ]
    assert config["learned_cameras"][0]["intrinsics"] == config["intrinsics"]
    report = (tmp_path / "run" / "report.html").read_text()
    said = [f"not told by the footage, taken to be 60 degrees wide ({name})" for name in ("2.mp4", "frames")]
    assert "; ".join(said) in report
    assert run("train", "monodepth2", clips, frames, "--out", tmp_path / "run", *options, "--resume") == 0
    capsys.readouterr()
    assert run("train", "monodepth2", clips, "--out", tmp_path / "run", *options, "--resume") == 2
    assert "data.beside" in only_line(capsys.readouterr().err)
    size = ["--height", 64, "--width", 96]
    assert run("data", "pack", "monodepth2", clips, frames, "--out", tmp_path / "pack", *learning, *size) == 0
    assert run("train", "monodepth2", tmp_path / "pack", "--out", tmp_path / "packed", *options) == 0
    packed = json.loads((tmp_path / "packed" / "model" / "config.json").read_text())
    assert packed["learned_cameras"] == config["learned_cameras"]

    def what_is_stale():
        capsys.readouterr()
        assert run("train", "monodepth2", tmp_path / "pack", "--out", tmp_path / "stale", *options) == 2
        line = only_line(capsys.readouterr().err)
        assert "is stale" in line
        return line

    added = write_video(clips / "40.mp4", range(12)).rename(clips / "GOPRO_40")
    assert "the first: clips/GOPRO_40" in what_is_stale()
    added.unlink()
    write_video(clips / "2.mp4", range(50, 70))
    assert "the first: clips/2.mp4" in what_is_stale()


def test_a_pack_of_a_video_knows_the_file_of_its_camera(tmp_path):
    video, camera = write_video(tmp_path / "a.mp4", range(3)), tmp_path / "a.json"
    camera.write_text("{}")
    assert [line.split(" ", 2)[2] for line in source_identity([video], "calibrated")] == ["a.json", "a.mp4"]


def test_a_video_that_changed_is_unpacked_anew_and_it_is_said(tmp_path, caplog):
    video, cache = write_video(tmp_path / "a.mp4", range(12)), tmp_path / "cache"
    first = unpack(video, cache, *SIZE)
    assert unpack(video, cache, *SIZE) == first
    assert "has changed" not in caplog.text
    write_video(video, range(30, 43))
    assert len(unpack(video, cache, *SIZE).frames) == 13
    assert "a.mp4: has changed since its frames were unpacked" in caplog.text


def test_no_data_is_a_mistake_of_the_call(tmp_path, capsys):
    assert run("train", "monodepth2", "--out", tmp_path / "run", *SMALL) == 2
    assert "DATA is missing" in only_line(capsys.readouterr().err)
