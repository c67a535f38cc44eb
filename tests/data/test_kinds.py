"""The table of data sets: what a record must have, and that a record is all that a new data set needs."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from egodepth.data import kinds
from egodepth.data.checking import check_data
from egodepth.data.configurations import DataConfig, DataKind
from egodepth.data.frame_store import FrameStore
from egodepth.data.images import list_images, read_image
from egodepth.data.opening import open_evaluation_frames, open_sequence, open_training_sets
from egodepth.data.recognise import recognise
from egodepth.data.record import DatasetKind, SplitLists, TrainingSets
from egodepth.data.samples import EvaluationFrame, EvaluationFrames, PosedSequence, Sample
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import evaluate
from egodepth.evaluation.protocols import PROTOCOLS
from tests.data.trees import write_frames

SIZE = 32, 64
DEPTH_M = 7.0


class ToyDataset:
    """Each frame with the one before it."""

    left_out = ()

    def __init__(self, root, source_ids, height, width):
        self.source_ids = tuple(source_ids)
        self._frames = FrameStore(list_images(root / "pictures"), height, width)

    def __len__(self):
        return len(self._frames) - 1

    def __getitem__(self, index):
        return Sample(f"toy {index}", self._frames[index + 1], self._frames[index][None], torch.eye(3))


class ToyFrames(EvaluationFrames):
    def __init__(self, root, split, time_offsets):
        self._images = list_images(root / "pictures")

    def __len__(self):
        return len(self._images)

    def __getitem__(self, index):
        image = read_image(self._images[index])
        return EvaluationFrame(f"toy {index}", image, np.full(image.shape[:2], DEPTH_M, np.float32))


def open_toy(wanted):
    wanted.require_no_stride("toys stand still")
    dataset = ToyDataset(wanted.root, wanted.source_ids, wanted.height, wanted.width)
    return TrainingSets.of_stages({"train": dataset, "val": dataset}.__getitem__)


def check_toy(root, findings):
    images = list_images(root / "pictures")
    findings.look_at_images(images)
    findings.count("toy pictures", len(images))


def toy_lists(root):
    known = {path.name for path in list_images(root / "pictures")}
    return SplitLists(("*.txt",), lambda file: file.read_text().split(), known.__contains__)


def toy_sequences(root):
    images = root / "pictures"
    return {"walk": lambda: PosedSequence("walk", list_images(images), np.tile(np.eye(4), (4, 1, 1)))}


TOY = DatasetKind(
    name="toy",
    title="a toy",
    expected="a toy (toy.json)",
    recognise=lambda path: (path / "toy.json").is_file(),
    check=check_toy,
    open_training=open_toy,
    evaluation_frames={"toy": ToyFrames},
    lists=toy_lists,
    hint=lambda path: f"is a part of a toy; give {path.parent}." if path.name == "pictures" else None,
    sequences=toy_sequences,
)


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    """A tree of the toy data set, which the table knows."""
    monkeypatch.setattr(kinds, "KINDS", (TOY, *kinds.KINDS))
    write_frames(tmp_path / "pictures", range(4))
    (tmp_path / "toy.json").write_text("{}")
    return tmp_path


def open_for_training(root, **config):
    return open_training_sets(root, DataConfig(**config), "calibrated", (-1,), *SIZE, root / "cache")


def test_the_command_line_knows_every_kind_of_the_table_and_no_other():
    assert sorted(kind.name for kind in kinds.KINDS) == sorted(get_args(DataKind))


def test_every_kind_of_data_trains_or_is_evaluated_on():
    assert all(kind.open_training or kind.evaluation_frames for kind in kinds.KINDS)
    assert len({kind.title for kind in kinds.KINDS}) == len({kind.expected for kind in kinds.KINDS}) == len(kinds.KINDS)


def test_a_new_data_set_is_recognised_by_its_record(toy):
    assert recognise(toy) == "toy"
    (toy / "toy.json").unlink()
    with pytest.raises(UserError, match=r"holds no frames itself, but .*pictures does"):
        recognise(toy)
    (toy / "pictures").rename(toy / "empty")
    (toy / "pictures" / "inner").mkdir(parents=True)
    with pytest.raises(UserError, match="is a part of a toy; give"):
        recognise(toy / "pictures")


@pytest.mark.parametrize("kind", [None, "toy"])
def test_a_new_data_set_is_trained_on_by_its_record(toy, kind):
    sets = open_for_training(toy, kind=kind)
    assert (len(sets.training), len(sets.validation), sets.left_out) == (3, 3, ())
    assert sets.training[0].target.shape == (3, *SIZE)


def test_a_new_data_set_is_joined_with_another(toy, drive):
    joint = open_training_sets(drive, DataConfig(also=(toy,)), "calibrated", (-1,), *SIZE, toy / "cache")
    assert joint.training[len(joint.training) - 1].name == "toy 2"


def test_a_new_data_set_is_evaluated_by_its_record(toy):
    frames = open_evaluation_frames(toy, "toy")
    protocol = replace(PROTOCOLS["eigen-benchmark"], name="toy", frames="toy")
    seen = np.full(SIZE, 1 / DEPTH_M, np.float32)
    result = evaluate(lambda image: seen, frames, protocol, metric_scale=True, progress=False)
    assert len(list(frames)) == 4
    assert result.metrics["abs_rel"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(UserError, match="is toy data; this protocol needs simulated or kitti-raw data"):
        open_evaluation_frames(toy, "eigen")


def test_a_new_data_set_is_checked_with_its_lists(toy):
    (toy / "splits" / "own").mkdir(parents=True)
    names = sorted(path.name for path in (toy / "pictures").iterdir())
    (toy / "splits" / "own" / "train.txt").write_text("\n".join(names))
    report = check_data(toy)
    assert (report.kind, report.faults) == ("toy", ())
    assert report.lines()[0] == f"{toy}: a toy"
    assert report.counts == {"toy pictures": 4, "frames listed in splits/own/train.txt": 4}
    (toy / "splits" / "own" / "train.txt").write_text("missing.png")
    assert "1 of its 1 frames are not in the tree (the first: missing.png)" in check_data(toy).faults[0]


def test_a_new_data_set_gives_sequences_with_poses(toy):
    assert len(open_sequence(toy, None)) == 4
    with pytest.raises(UserError, match="Choose one of walk"):
        open_sequence(toy, "run")


def test_a_data_set_that_is_evaluated_on_alone_is_refused_for_training(toy, monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", (replace(TOY, open_training=None), *kinds.KINDS[1:]))
    with pytest.raises(
        UserError, match=r"is toy data, single frames for evaluation only\. Train on simulated, kitti-raw"
    ):
        open_for_training(toy)


VIDEO_ROOMS = (
    "images",
    "footage",
    "footage.video",
    "footage.containers",
    "footage.decoding",
    "footage.h264",
    "footage.hdr",
    "footage.stretches",
    "bags",
    "bags.reading",
    "bags.messages",
)


def test_images_and_videos_are_read_without_torch_and_without_any_data_set():
    code = (
        "import json, sys, egodepth.data.images, egodepth.data.footage.video; "
        "print(json.dumps([name for name in sys.modules if name == 'torch' or name.startswith('egodepth.data.')]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    expected = {f"egodepth.data.{name}" for name in VIDEO_ROOMS}
    assert set(json.loads(answer)) == expected
