import logging
import pickle
import sys
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from egodepth.data.frame_store import FrameStore
from egodepth.data.loading import StepSampler, make_loader, sequential_batches
from egodepth.data.samples import Sample
from egodepth.errors import UserError

sizes = st.tuples(st.integers(1, 60), st.integers(1, 7), st.integers(1, 3), st.integers(0, 1000))


class Numbers:
    """A dataset whose sample `index` is filled with its index; some of them cannot be read."""

    source_ids = (-1, 1)

    def __init__(self, length, broken=()):
        self.length = length
        self.broken = set(broken)

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.broken:
            raise UserError(f"{index}.jpg: is damaged.")
        image = torch.full((3, 4, 6), index, dtype=torch.uint8)
        return Sample(str(index), image, torch.stack([image, image]), torch.eye(3))


def epoch_batches(length, batch_size, seed, world_size, epoch):
    """The batches of every rank in one epoch, as [step][rank]."""
    samplers = [StepSampler(length, batch_size, seed, 0, 1, rank, world_size) for rank in range(world_size)]
    steps = samplers[0].steps_per_epoch
    return [[sampler.indices(step) for sampler in samplers] for step in range(epoch * steps, (epoch + 1) * steps)]


@given(sizes, st.integers(0, 3))
def test_an_epoch_visits_each_index_at_most_once_over_all_ranks(size, epoch):
    length, batch_size, world_size, seed = size
    visited = list(chain.from_iterable(chain.from_iterable(epoch_batches(length, batch_size, seed, world_size, epoch))))
    if length >= batch_size * world_size:
        assert len(visited) == len(set(visited))
        assert length - len(visited) < batch_size * world_size
    else:
        assert set(visited) == set(range(length))


@given(sizes)
def test_every_batch_is_full(size):
    length, batch_size, world_size, seed = size
    for step in epoch_batches(length, batch_size, seed, world_size, epoch=0):
        assert [len(batch) for batch in step] == [batch_size] * world_size
        assert all(0 <= index < length for batch in step for index in batch)


@given(sizes, st.integers(0, 30), st.integers(0, 30))
def test_a_sampler_started_late_continues_as_the_first_would_have(size, start, more):
    length, batch_size, world_size, seed = size
    whole = list(StepSampler(length, batch_size, seed, 0, start + more, 0, world_size))
    late = list(StepSampler(length, batch_size, seed, start, start + more, 0, world_size))
    assert late == whole[start:]


def test_epochs_and_seeds_differ_in_order():
    first, second = (epoch_batches(50, 5, 0, 1, epoch) for epoch in (0, 1))
    assert first != second
    assert first != epoch_batches(50, 5, 1, 1, 0)


def test_an_empty_dataset_is_refused():
    with pytest.raises(UserError, match="empty"):
        StepSampler(0, 4, 0, 0, 10)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_the_order_of_the_sampler(workers):
    sampler = StepSampler(20, 3, 0, 2, 9)
    loader = make_loader(Numbers(20), sampler, workers)
    batches = list(loader)
    assert [batch.indices.tolist() for batch in batches] == list(sampler)
    assert len(loader) == 7
    assert batches[0].target[:, 0, 0, 0].tolist() == batches[0].indices.tolist()
    assert batches[0].source_ids == (-1, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_sample_is_replaced_by_the_next_and_reported_once(workers, caplog):
    loader = make_loader(Numbers(20, broken=[4, 5]), [[3, 4], [5, 6], [4, 4]], workers)
    with caplog.at_level(logging.WARNING):
        batches = list(loader)
    assert [batch.indices.tolist() for batch in batches] == [[3, 6], [6, 6], [6, 6]]
    assert batches[0].names == ("3", "6")
    assert sorted(caplog.messages) == [
        f"{index}.jpg: is damaged. Another frame is used in its place." for index in (4, 5)
    ]
    assert set(loader.broken) == {4, 5}


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_broken_samples_stop_training_in_one_line(workers):
    loader = make_loader(Numbers(500, broken=range(0, 500, 2)), sequential_batches(500, 5), workers)
    with pytest.raises(
        UserError, match=r"^1\d of 500 training samples cannot be read, the first: 0\.jpg: is damaged\.$"
    ):
        list(loader)


def test_a_small_set_that_is_broken_throughout_stops_training():
    with pytest.raises(UserError, match="4 of 4 training samples"):
        list(make_loader(Numbers(4, broken=range(4)), [[0]], 0))


class Stored(Numbers):
    """Samples from the files of a folder, through a frame store."""

    def __init__(self, paths):
        super().__init__(len(paths))
        self.frames = FrameStore(paths, 4, 6, cache_bytes=10**6)

    def __getitem__(self, index):
        frame = self.frames[index]
        return Sample(str(index), frame, torch.stack([frame, frame]), torch.eye(3))


def write_pictures(folder, count):
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (6, 4), (number, 0, 0)).save(path)
    return paths


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_frames_that_a_worker_has_read_are_known_to_the_others(tmp_path):
    paths = write_pictures(tmp_path, 5)
    dataset = Stored(paths)
    list(make_loader(dataset, sequential_batches(5, 2), workers=1))
    for path in paths:
        path.unlink()
    assert [dataset[index].target[0, 0, 0].item() for index in range(5)] == [0, 1, 2, 3, 4]


def test_a_dataset_with_stored_frames_can_be_sent_to_a_new_process(tmp_path):
    dataset = pickle.loads(pickle.dumps(Stored(write_pictures(tmp_path, 5))))
    assert dataset[3].target[0, 0, 0].item() == 3


@given(st.integers(0, 40), st.integers(1, 6), st.integers(1, 3))
def test_validation_batches_cover_the_set_once_over_all_ranks(length, batch_size, world_size):
    batches = chain.from_iterable(
        sequential_batches(length, batch_size, rank, world_size) for rank in range(world_size)
    )
    assert sorted(chain.from_iterable(batches)) == list(range(length))
