"""Batches in an order that a stopped run can pick up again: the sampler, and the loader around it."""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from egodepth.data.configurations import Source
from egodepth.data.cutting import Cutting
from egodepth.data.draws import draw_shares
from egodepth.data.packs.remote import Unreachable
from egodepth.data.samples import Batch, Sample, TrainingDataset, read_drawn
from egodepth.errors import UserError

logger = logging.getLogger(__name__)

PARTS_AT_ONCE = 8
"""Parts of a fetched data set whose samples are mixed; for a pack they take 2 GiB."""

OPEN_FILES, OPEN_FILES_EACH = 64, 16
"""Files that a training has open, and those for each of its loading processes: two batches of some tensors."""

BROKEN_SHARE_ALLOWED = 0.01
BROKEN_ALWAYS_ALLOWED = 10


class StepSampler:
    """The indices of every training step's batch, a pure function of the step.

    An epoch is a permutation of the dataset drawn from (seed, epoch), cut into batches over all ranks; the last
    incomplete one is dropped. A dataset smaller than one batch is repeated, each time in a new order, to fill it.

    Of a dataset in many parts that have to be fetched, an epoch goes from part to part in an order that is drawn, and
    the samples of `PARTS_AT_ONCE` parts are mixed: all of a part's come within as many parts' time.

    Args:
        length: of the dataset.
        batch_size: per rank.
        start_step, stop_step: the global steps to go through, the second exclusive.
        rank, world_size: this process among those that train together.
        parts: the part that each sample is of; None where samples may come in any order.

    Raises:
        UserError: the dataset is empty.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        start_step: int,
        stop_step: int,
        rank: int = 0,
        world_size: int = 1,
        parts: np.ndarray | None = None,
    ) -> None:
        if length < 1:
            raise UserError("The training set is empty. Check the data folder and the split.")
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.start_step = start_step
        self.stop_step = stop_step
        self.rank = rank
        self.world_size = world_size
        self.parts = parts
        self._latest: tuple[int, np.ndarray] | None = None

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.length // self._global_batch)

    def epoch(self, step: int) -> int:
        """The epoch that a step belongs to, counted from zero."""
        return step // self.steps_per_epoch

    def indices(self, step: int) -> list[int]:
        """This rank's batch at a step."""
        order = self._order(self.epoch(step))
        start = (step % self.steps_per_epoch) * self._global_batch + self.rank * self.batch_size
        return order[start : start + self.batch_size].tolist()

    def __iter__(self) -> Iterator[list[int]]:
        return (self.indices(step) for step in range(self.start_step, self.stop_step))

    def __len__(self) -> int:
        return max(0, self.stop_step - self.start_step)

    @property
    def _global_batch(self) -> int:
        return self.batch_size * self.world_size

    def _order(self, epoch: int) -> np.ndarray:
        if self._latest is None or self._latest[0] != epoch:
            rounds = -(-self._global_batch // self.length) if self.length < self._global_batch else 1
            generator = np.random.default_rng([self.seed, epoch])
            self._latest = epoch, np.concatenate([self._permutation(generator) for _ in range(rounds)])
        return self._latest[1]

    def _permutation(self, generator: np.random.Generator) -> np.ndarray:
        if self.parts is None or len(np.unique(self.parts)) <= PARTS_AT_ONCE:
            return generator.permutation(self.length)
        places = generator.permutation(self.parts.max() + 1)[self.parts]
        return np.argsort(places + PARTS_AT_ONCE * generator.random(self.length), kind="stable")


@dataclass(frozen=True)
class _Read:
    """What came of asking for one sample: the sample that could be read, and what was broken on the way."""

    index: int
    sample: Sample | None
    broken: dict[int, str]


class _Readable(Dataset[_Read]):
    """A dataset that answers with the next readable sample instead of failing; asked by step and index."""

    def __init__(self, dataset: TrainingDataset, cutting: Cutting | None, seed: int | None) -> None:
        self.dataset = dataset
        self.cutting = cutting
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, asked: tuple[int, int]) -> _Read:
        step, index = asked
        broken: dict[int, str] = {}
        for place in range(index, index + min(len(self), broken_allowed(len(self)) + 1)):
            wrapped = place % len(self)
            try:
                return _Read(wrapped, self._sample(wrapped, step), broken)
            except Unreachable as error:  # as the others are, most likely: nothing takes its place
                return _Read(index, None, broken | {wrapped: str(error)})
            except UserError as error:
                broken[wrapped] = str(error)
        return _Read(index, None, broken)

    def _sample(self, index: int, step: int) -> Sample:
        if self.cutting is not None:
            return self.cutting.read(self.dataset, index, step)
        if self.seed is None:
            return self.dataset[index]
        return read_drawn(self.dataset, index, draw_shares(self.seed, step, index, len(self.dataset.source_ids)))


@dataclass(frozen=True)
class _Asked:
    """Batches of (step, index), because a dataset does not know the step that decides what is cut out of a frame."""

    sampler: "StepSampler | Sequence[Sequence[int]]"

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first = self.sampler.start_step if isinstance(self.sampler, StepSampler) else 0
        for step, indices in enumerate(self.sampler, first):
            yield [(step, index) for index in indices]

    def __len__(self) -> int:
        return len(self.sampler)


@dataclass(frozen=True)
class _Collate:
    source_ids: tuple[Source, ...]

    def __call__(self, reads: Sequence[_Read]) -> tuple[Batch | None, dict[int, str]]:
        broken = {index: message for read in reads for index, message in read.broken.items()}
        if any(read.sample is None for read in reads):
            return None, broken
        return Batch.of([read.sample for read in reads], [read.index for read in reads], self.source_ids), broken


class BatchLoader:
    """Iterates over batches in the order of a sampler; made by `make_loader`.

    A sample that cannot be read is replaced by the next one that can, always the same, and reported once by
    name.

    Raises:
        UserError: while iterating, when more than ten samples and more than 1 % of the set are broken, or a store does
            not give one.
    """

    def __init__(self, loader: DataLoader, samples: int) -> None:
        self.loader = loader
        self.broken: dict[int, str] = {}
        self._samples = samples

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch, broken in self.loader:
            if batch is None:
                self.broken |= broken
                self._refuse()
            self._report(broken)
            yield batch

    def _report(self, broken: dict[int, str]) -> None:
        messages = set(self.broken.values())
        for message in sorted(set(broken.values()) - messages):
            logger.warning("%s Another frame is used in its place.", message)
        self.broken |= broken
        if len(self.broken) > broken_allowed(self._samples):
            self._refuse()

    def _refuse(self) -> None:
        raise UserError(
            f"{len(self.broken)} of {self._samples} training samples cannot be read, the first: "
            f"{next(iter(self.broken.values()))}"
        )


def make_loader(
    dataset: TrainingDataset,
    sampler: StepSampler | Sequence[Sequence[int]],
    workers: int,
    pin_memory: bool = False,
    cutting: Cutting | None = None,
    seed: int | None = None,
) -> BatchLoader:
    """Load the sampler's batches with `workers` processes beside this one; 0 loads in this one.

    Args:
        sampler: gives the indices of each batch.
        pin_memory: put batches where a CUDA device can fetch them without waiting.
        cutting: how frames are scaled and cut at each step; none reads them whole.
        seed: of the run, by which a data set that has several useful neighbours draws them at each step; none takes the
            nearest ones.

    Raises:
        UserError: the system lets this process open too few files for so many workers.
    """
    if workers:
        _make_room_for_files(workers)
    loader = DataLoader(
        _Readable(dataset, cutting, seed),
        batch_sampler=_Asked(sampler),
        num_workers=workers,
        collate_fn=_Collate(tuple(dataset.source_ids)),
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=one_thread,
    )
    return BatchLoader(loader, len(dataset))


def sequential_batches(length: int, batch_size: int, rank: int = 0, world_size: int = 1) -> list[list[int]]:
    """Every index once, in order and dealt out to the ranks, the last batch perhaps smaller: for validation."""
    mine = range(rank, length, world_size)
    return [list(mine[start : start + batch_size]) for start in range(0, len(mine), batch_size)]


def broken_allowed(samples: int) -> int:
    """How many samples of so many may be unreadable before a training, or a packing, says that the data are."""
    return max(BROKEN_ALWAYS_ALLOWED, int(samples * BROKEN_SHARE_ALLOWED))


def _make_room_for_files(workers: int) -> None:
    """Let this process open as many files as its loading processes need, each tensor on its way being one.

    A loading process that cannot open one more drops its batch, and the one that trains waits for it for ever.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = OPEN_FILES + OPEN_FILES_EACH * workers
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UserError(
            f"--workers {workers}: need {needed} open files, and this process may have {hard}. Lower --workers, or "
            "raise the limit (ulimit -n)."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def one_thread(worker: int) -> None:
    """Keep a loading process from competing with the others for processors, and leave signals to the one it loads for.

    Ctrl-C and a scheduler's signals reach all of a group. The process that trains finishes its step then, and must not
    hear of a loader that was killed, which PyTorch tells it in the midst of one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    torch.set_num_threads(1)
