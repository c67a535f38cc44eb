"""Packs in an object store: what training from them gives, what they keep on this machine, and what goes wrong."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from egodepth.cli.recipes import several
from egodepth.data import loading
from egodepth.data.configurations import DataConfig
from egodepth.data.loading import PARTS_AT_ONCE, StepSampler
from egodepth.data.opening import open_training_sets
from egodepth.data.packs.reading import PackOptions, is_pack, open_pack
from egodepth.data.packs.remote import RemoteParts, Unreachable, is_address, stand_in
from egodepth.data.packs.writing import pack
from egodepth.errors import UserError
from egodepth.recipes import RECIPES
from egodepth.training.checkpoints import LAST_CHECKPOINT
from tests.command_line import only_line, train
from tests.object_store import object_store

s3fs = pytest.importorskip("s3fs", reason="s3fs, the extra ray, is not installed")

OPTIONS = PackOptions((-1, 1), 64, 96)
FRAME_BYTES = 3 * 64 * 96
SAMPLES_OF_PART = 3


@pytest.fixture(scope="module")
def packed(drive, tmp_path_factory) -> Path:
    """A pack of many small parts."""
    out = tmp_path_factory.mktemp("pack") / "pack"
    sets = open_training_sets(drive, DataConfig(), "calibrated", (-1, 1), 64, 96, out.parent / "cache")
    pack(out, [drive], sets.training, sets.validation, OPTIONS, part_bytes=SAMPLES_OF_PART * 3 * FRAME_BYTES)
    return out


@pytest.fixture
def bucket(packed, monkeypatch, tmp_path):
    monkeypatch.setenv("EGODEPTH_CACHE", str(tmp_path / "cache"))
    with object_store(monkeypatch) as files:
        files.mkdir("packs")
        files.put(str(packed), "packs/drive", recursive=True)
        yield files


ADDRESS = Path("s3://packs/drive")


def is_same(one, other) -> bool:
    return one.name == other.name and torch.equal(one.target, other.target) and torch.equal(one.sources, other.sources)


def test_a_pack_in_a_store_gives_the_samples_of_the_local_one(bucket, packed):
    assert is_address(ADDRESS)
    assert not is_address(packed)
    local, far = open_pack(packed, OPTIONS), open_pack(stand_in(ADDRESS), OPTIONS)
    for one, other in ((local.training, far.training), (local.validation, far.validation)):
        assert len(one) == len(other) > 0
        assert all(is_same(one[index], other[index]) for index in range(len(one)))


def test_every_place_of_data_takes_an_address(bucket, packed):
    recipe = RECIPES["monodepth2"]
    first, recipe = several([packed, ADDRESS], replace(recipe, data=replace(recipe.data, also=(ADDRESS,))))
    assert first == packed
    assert is_pack(recipe.data.beside[0])
    assert is_pack(recipe.data.also[0])


def test_no_more_is_kept_than_there_is_room_for(bucket, packed, monkeypatch):
    part = SAMPLES_OF_PART * 3 * FRAME_BYTES
    monkeypatch.setenv("EGODEPTH_PACK_GB", str(2 * part / 1e9))
    folder = stand_in(ADDRESS)
    far, local = open_pack(folder, OPTIONS).training, open_pack(packed, OPTIONS).training
    assert far.parts.max() >= 3
    for index in np.random.default_rng(0).permutation(len(far)):
        assert is_same(far[index], local[index])
        assert sum(file.stat().st_size for file in folder.glob("pixels-*.bin")) <= 2 * part
    assert list(folder.glob("pixels-*.bin"))


def test_another_pack_at_the_address_takes_the_place_of_the_first(bucket, packed, tmp_path):
    folder = stand_in(ADDRESS)
    open_pack(folder, OPTIONS).training[0]
    other = shutil.copytree(packed, tmp_path / "other")
    text = (other / "pack.json").read_text()
    (other / "pack.json").write_text(text.replace('"complete": true', '"complete": false'))
    bucket.put(str(other / "pack.json"), "packs/drive/pack.json")
    assert stand_in(ADDRESS) == folder
    assert not list(folder.glob("pixels-*.bin"))
    with pytest.raises(UserError, match="was not packed to its end"):
        open_pack(folder, OPTIONS)


@pytest.mark.parametrize("address", ["s3://packs/nothing", "s3://nowhere/drive", "nosuch://packs/drive"])
def test_an_address_without_a_pack_is_said_in_one_line(bucket, address, tmp_path, capsys):
    assert train(address, tmp_path / "run") == 2
    assert address in only_line(capsys.readouterr().err)


def test_a_part_that_is_missing_or_short_is_said_in_one_line_before_training(bucket, tmp_path, capsys):
    bucket.rm_file("packs/drive/pixels-00001.bin")
    assert train("s3://packs/drive", tmp_path / "run") == 2
    assert "s3://packs/drive/pixels-00001.bin: is missing" in only_line(capsys.readouterr().err)
    bucket.pipe_file("packs/drive/pixels-00001.bin", b"short")
    assert train("s3://packs/drive", tmp_path / "run") == 2
    assert "s3://packs/drive/pixels-00001.bin: has 5 bytes" in only_line(capsys.readouterr().err)


def test_a_store_that_goes_away_is_said_in_one_line(bucket, tmp_path, capsys, monkeypatch):
    sizes = RemoteParts.sizes

    def then_nothing(parts):
        found = sizes(parts)
        bucket.rm("packs/drive", recursive=True)
        return found

    monkeypatch.setattr(RemoteParts, "sizes", then_nothing)
    assert train("s3://packs/drive", tmp_path / "run") == 2
    assert "is not in the store" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_from_a_store_is_training_from_the_local_pack(bucket, packed, tmp_path, workers):
    ends = ("--steps", 6, "--workers", workers)
    assert train(packed, tmp_path / "local", *ends) == 0
    assert train("s3://packs/drive", tmp_path / "far", *ends) == 0
    weights = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("local", "far")]
    assert weights[0] == weights[1]


def test_a_run_whose_store_went_away_resumes_to_the_same_weights(bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loading, "PARTS_AT_ONCE", 1)  # so that the order is that of many parts
    options = ("--steps", 8, "--checkpoint-every", 2)
    assert train("s3://packs/drive", tmp_path / "whole", *options) == 0
    with monkeypatch.context() as context:
        read, reads = RemoteParts.read, iter(range(12 + 3 * 2 * 5))  # after which five steps are over, or more

        def until_it_goes(*arguments, **named):
            if next(reads, None) is None:
                raise Unreachable("the store is away")
            return read(*arguments, **named)

        context.setattr(RemoteParts, "read", until_it_goes)
        assert train("s3://packs/drive", tmp_path / "run", *options, "--workers", 1) == 2
    assert "the store is away" in only_line(capsys.readouterr().err)
    reached = torch.load(tmp_path / "run" / LAST_CHECKPOINT, weights_only=True)["global_step"]
    assert 2 <= reached < 8
    shutil.rmtree(tmp_path / "cache")
    assert train("s3://packs/drive", tmp_path / "run", *options, "--resume") == 0
    weights = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", "run")]
    assert weights[0] == weights[1]


def test_an_epoch_over_many_parts_shows_every_sample_once_and_few_parts_at_a_time():
    parts = np.repeat(np.arange(40), 25)
    sampler = StepSampler(1000, 4, seed=3, start_step=0, stop_step=500, parts=parts)
    steps = list(sampler)
    for epoch in (steps[:250], steps[250:]):
        order = np.concatenate(epoch)
        assert sorted(order) == list(range(1000))
        places = [np.flatnonzero(parts[order] == part) for part in range(40)]
        open_at = [sum(each[0] <= place <= each[-1] for each in places) for place in range(1000)]
        assert max(open_at) <= PARTS_AT_ONCE + 1
        assert np.abs(np.diff(order)).mean() > 25
    assert steps[:250] != steps[250:]
    # A pure function of seed and step, on however many processes.
    later = StepSampler(1000, 4, seed=3, start_step=200, stop_step=500, parts=parts)
    assert list(later) == steps[200:]
    halves = [StepSampler(1000, 2, 3, 0, 500, rank, 2, parts) for rank in (0, 1)]
    assert [one + other for one, other in zip(*halves, strict=True)] == steps


def test_few_parts_are_in_the_order_of_a_local_pack():
    parts = np.repeat(np.arange(PARTS_AT_ONCE), 5)
    of_parts = StepSampler(len(parts), 4, seed=1, start_step=0, stop_step=30, parts=parts)
    assert list(of_parts) == list(StepSampler(len(parts), 4, seed=1, start_step=0, stop_step=30))
