"""Packing a training set and training from the pack."""

import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from egodepth.data.configurations import DataConfig
from egodepth.data.frame_store import FrameStore
from egodepth.data.loading import StepSampler, make_loader
from egodepth.data.opening import open_training_sets
from egodepth.data.packs.reading import Pack, PackOptions, open_pack
from egodepth.data.packs.writing import PackReport, pack
from egodepth.data.record import TrainingSets
from egodepth.data.samples import Sample, TrainingDataset
from egodepth.errors import UserError
from tests.data.trees import write_frames

OPTIONS = PackOptions(source_ids=(-1, 1, "stereo"), height=32, width=96)
FRAME_BYTES = 3 * 32 * 96
PART_BYTES = 4 * 8 * FRAME_BYTES
"""Room for eight samples of four views."""


@pytest.fixture
def source(drive, tmp_path) -> Path:
    """A drive that a test may change."""
    return shutil.copytree(drive, tmp_path / "source")


def opened(source: Path, options: PackOptions = OPTIONS) -> TrainingSets:
    config = DataConfig(split=options.split, stride=options.stride, sides=options.sides)
    size = options.height, options.width
    return open_training_sets(source, config, options.intrinsics, options.source_ids, *size, source.parent / "cache")


def packed(source: Path, out: Path, options: PackOptions = OPTIONS, **more: object) -> PackReport:
    sets = opened(source, options)
    arguments = {"left_out": sets.left_out, "part_bytes": PART_BYTES} | more
    return pack(out, (source,), sets.training, sets.validation, options, **arguments)


def assert_same(one: Sample, other: Sample) -> None:
    assert torch.equal(one.target, other.target)
    assert torch.equal(one.sources, other.sources)
    assert torch.equal(one.intrinsics, other.intrinsics)
    assert one.intrinsics.dtype == other.intrinsics.dtype
    assert (one.name, one.stereo_offset, one.centred) == (other.name, other.stereo_offset, other.centred)
    torch.testing.assert_close(one.baseline_m, other.baseline_m, rtol=0, atol=0, equal_nan=True)


def assert_same_sets(pack: Pack, sets: TrainingSets) -> None:
    for mine, original in ((pack.training, sets.training), (pack.validation, sets.validation)):
        assert len(mine) == len(original) > 0
        assert mine.source_ids == original.source_ids
        for index in range(len(original)):
            assert_same(mine[index], original[index])
    assert pack.left_out == sets.left_out


def message_of(dataset: TrainingDataset, index: int) -> str:
    """Why a sample cannot be read; empty where it can."""
    try:
        dataset[index]
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "options",
    [OPTIONS, replace(OPTIONS, source_ids=(-1, 1)), replace(OPTIONS, source_ids=("stereo",), intrinsics="fixed")],
    ids=["mono+stereo", "mono", "stereo, fixed camera"],
)
def test_a_pack_gives_the_samples_of_the_original_bit_for_bit(source, tmp_path, options):
    report = packed(source, tmp_path / "pack", options)
    sets = opened(source, options)
    assert report.samples == report.packed_now == len(sets.training) + len(sets.validation)
    assert_same_sets(open_pack(tmp_path / "pack", options), sets)


def test_a_pack_of_left_targets_serves_left_targets_alone(source, tmp_path):
    left = replace(OPTIONS, sides="left")
    packed(source, tmp_path / "pack", left)
    assert_same_sets(open_pack(tmp_path / "pack", left), opened(source, left))
    with pytest.raises(UserError, match="was packed with sides left, this training wants both"):
        open_pack(tmp_path / "pack", OPTIONS)


def test_a_pack_from_before_there_were_sides_is_of_both(source, tmp_path):
    packed(source, tmp_path / "pack")
    manifest = json.loads((tmp_path / "pack" / "pack.json").read_text())
    del manifest["options"]["sides"]
    (tmp_path / "pack" / "pack.json").write_text(json.dumps(manifest))
    assert open_pack(tmp_path / "pack", OPTIONS).options.sides == "both"
    with pytest.raises(UserError, match="was packed with sides both, this training wants left"):
        open_pack(tmp_path / "pack", replace(OPTIONS, sides="left"))


def test_footage_without_a_baseline_packs_too(drive, tmp_path):
    frames = tmp_path / "frames"
    shutil.copytree(next(drive.glob("*/*_0001_sync/image_02/data")), frames)
    options = PackOptions(source_ids=(-1, 1), height=32, width=96, intrinsics="111,111,95,29")
    packed(frames, tmp_path / "pack", options)
    assert_same_sets(open_pack(tmp_path / "pack", options), opened(frames, options))
    # The camera travels in the pack, and need not be given again.
    assert len(open_pack(tmp_path / "pack", replace(options, intrinsics="calibrated")).training) > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_a_pack_are_those_of_the_original(source, tmp_path, workers):
    packed(source, tmp_path / "pack", workers=workers)
    batches = [
        list(make_loader(dataset, StepSampler(len(dataset), 3, 0, 0, 4), workers))
        for dataset in (opened(source).training, open_pack(tmp_path / "pack", OPTIONS).training)
    ]
    for original, mine in zip(*batches, strict=True):
        assert original.names == mine.names
        for name in ("indices", "target", "sources", "intrinsics", "stereo_offset", "baseline_m"):
            assert torch.equal(getattr(original, name), getattr(mine, name))


def test_a_frame_that_several_samples_show_is_stored_once(source, tmp_path):
    report = packed(source, tmp_path / "pack")
    distinct = len(list(source.glob("*/*/image_0?/data/*.png")))
    pixels = sum(file.stat().st_size for file in (tmp_path / "pack").glob("pixels-*.bin"))
    assert pixels == report.bytes == report.frames * FRAME_BYTES
    assert report.frames <= distinct < 4 * report.samples


def test_the_original_is_left_as_it_was(source, tmp_path):
    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in source.rglob("*")}

    before = state()
    packed(source, tmp_path / "pack")
    assert state() == before


def test_packing_that_was_stopped_goes_on_after_its_last_whole_part(source, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "pack"
    all_samples = packed(source, whole).samples
    read, calls = FrameStore._read, []

    def stopped(self: FrameStore, number: int) -> torch.Tensor:
        calls.append(number)
        if len(calls) > 20:
            raise KeyboardInterrupt
        return read(self, number)

    monkeypatch.setattr(FrameStore, "_read", stopped)
    with pytest.raises(KeyboardInterrupt):
        packed(source, out)
    monkeypatch.undo()
    with pytest.raises(UserError, match="not packed to its end"):
        open_pack(out, OPTIONS)
    first = (out / "pixels-00000.bin").stat().st_mtime_ns
    report = packed(source, out)
    assert 0 < report.packed_now < all_samples
    assert (out / "pixels-00000.bin").stat().st_mtime_ns == first
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    for path in whole.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()
    assert packed(source, out).packed_now == 0


def test_going_on_with_other_options_is_refused(source, tmp_path):
    packed(source, tmp_path / "pack")
    with pytest.raises(UserError, match="another options"):
        packed(source, tmp_path / "pack", replace(OPTIONS, source_ids=(-1, 1)))


@pytest.mark.parametrize("place", ["source/pack", "full"])
def test_a_folder_that_a_pack_must_not_go_into_is_refused(source, tmp_path, place):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="Choose"):
        packed(source, tmp_path / place)


@pytest.mark.parametrize("change", ["touched", "removed", "added", "split"])
def test_a_pack_of_data_that_has_changed_since_is_refused_by_the_file(source, tmp_path, change):
    packed(source, tmp_path / "pack")
    frame = sorted(source.glob("*/*/image_02/data/*.png"))[3]
    name = frame.name
    if change == "touched":
        os.utime(frame, ns=(1, 1))
    elif change == "removed":
        frame.unlink()
    elif change == "added":
        name = "9999999999.png"
        shutil.copy2(frame, frame.with_name(name))
    else:
        name = "train_files.txt"
        next(source.glob(f"splits/*/{name}")).write_text("nothing")
    with pytest.raises(UserError, match=f"stale: 1 files .*{name}"):
        open_pack(tmp_path / "pack", OPTIONS)


def test_a_camera_that_lies_elsewhere_belongs_to_a_pack(tmp_path):
    footage = write_frames(tmp_path / "walk", range(12))
    camera = tmp_path / "elsewhere.json"
    camera.write_text('{"fx": 120, "fy": 120, "cx": 48, "cy": 24, "width": 96, "height": 48}')
    options = replace(OPTIONS, source_ids=(-1, 1), intrinsics=str(camera))
    packed(footage, tmp_path / "pack", options)
    assert len(open_pack(tmp_path / "pack", options).training) > 0
    camera.write_text(camera.read_text().replace("120", "150"))
    with pytest.raises(UserError, match=r"stale: 1 files .*elsewhere\.json"):
        open_pack(tmp_path / "pack", options)
    camera.unlink()
    assert len(open_pack(tmp_path / "pack", options).training) > 0


def test_ground_truth_that_was_fetched_later_does_not_make_a_pack_stale(source, tmp_path):
    packed(source, tmp_path / "pack")
    folder = next(source.glob("*/*_sync")) / "proj_depth" / "groundtruth" / "image_02"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "later.png").write_bytes(b"depth")
    assert len(open_pack(tmp_path / "pack", OPTIONS).training) > 0


def test_a_pack_serves_where_its_source_is_not(source, tmp_path):
    packed(source, tmp_path / "pack")
    sets = opened(source)
    expected = sets.training[0]
    shutil.rmtree(source)
    assert_same(open_pack(tmp_path / "pack", OPTIONS).training[0], expected)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"source_ids": (-1, 1)}, "source_ids -1, 1, stereo"),
        ({"height": 64}, "height 32"),
        ({"intrinsics": "fixed"}, "intrinsics calibrated"),
        ({"split": "other"}, "split None"),
    ],
)
def test_training_that_wants_other_samples_is_refused(source, tmp_path, asked, said):
    packed(source, tmp_path / "pack")
    with pytest.raises(UserError, match=said):
        open_pack(tmp_path / "pack", replace(OPTIONS, **asked))


def test_a_split_need_not_be_named_again(source, tmp_path):
    options = replace(OPTIONS, split="simulated")
    packed(source, tmp_path / "pack", options)
    assert open_pack(tmp_path / "pack", OPTIONS).options == options


def test_a_damaged_frame_is_refused_by_its_file_and_the_others_are_read(source, tmp_path):
    packed(source, tmp_path / "pack")
    file = tmp_path / "pack" / "pixels-00000.bin"
    content = bytearray(file.read_bytes())
    content[FRAME_BYTES // 2] ^= 1
    file.write_bytes(content)
    training = open_pack(tmp_path / "pack", OPTIONS).training
    with pytest.raises(UserError, match=r"pixels-00000\.bin: frame 0 is damaged\. Remove the folder and pack again"):
        training[0]
    assert training[len(training) - 1].target.shape == (3, 32, 96)


@pytest.mark.parametrize("damage", ["cut", "missing", "no samples", "broken json"])
def test_a_damaged_pack_is_refused_by_the_file_before_training(source, tmp_path, damage):
    packed(source, tmp_path / "pack")
    pixels, samples = tmp_path / "pack" / "pixels-00001.bin", tmp_path / "pack" / "samples-00001.json"
    if damage == "cut":
        os.truncate(pixels, FRAME_BYTES + 7)
    elif damage == "missing":
        pixels.unlink()
    elif damage == "no samples":
        samples.unlink()
    else:
        samples.write_text(samples.read_text()[:50])
    name = (samples if "sam" in damage or "json" in damage else pixels).name
    with pytest.raises(UserError, match=rf"{name}.*pack again"):
        open_pack(tmp_path / "pack", OPTIONS)


def test_a_sample_that_cannot_be_read_stays_one(source, tmp_path):
    broken = sorted(source.glob("*/*_0001_sync/image_02/data/*.png"))[4]
    broken.write_bytes(broken.read_bytes()[:300])
    packed(source, tmp_path / "pack")
    original, mine = opened(source).training, open_pack(tmp_path / "pack", OPTIONS).training
    messages = [[message_of(dataset, index) for index in range(len(original))] for dataset in (original, mine)]
    assert messages[0] == messages[1]
    assert any(broken.name in message for message in messages[1])
    assert "" in messages[1]


def test_a_packed_set_goes_to_spawned_workers_without_its_pixels(source, tmp_path):
    packed(source, tmp_path / "pack")
    training = open_pack(tmp_path / "pack", OPTIONS).training
    expected = training[0]
    content = pickle.dumps(training)
    assert len(content) < 8 * FRAME_BYTES
    assert_same(pickle.loads(content)[0], expected)


def test_the_manifest_says_what_was_packed_and_of_what(source, tmp_path):
    packed(source, tmp_path / "pack")
    manifest = json.loads((tmp_path / "pack" / "pack.json").read_text())
    assert manifest["source"] == str(source.resolve())
    assert manifest["options"]["source_ids"] == [-1, 1, "stereo"]
    assert manifest["complete"] is True
