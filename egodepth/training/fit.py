"""The training engine: from a method and its data to checkpoints, logs and a released model, with exact resume."""

import errno
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as lightning
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from egodepth.data.cutting import Cutting
from egodepth.data.loading import BatchLoader, StepSampler, make_loader, sequential_batches
from egodepth.data.samples import Batch, TrainingDataset
from egodepth.errors import Stopped, UserError, first_line
from egodepth.files import remove_leftovers
from egodepth.methods.method import Method
from egodepth.processors import available_processors
from egodepth.recipes.recipe import TrainingConfig
from egodepth.training.callbacks import (
    BorderWatch,
    LossWatch,
    NumericalWatch,
    PanelWriter,
    SharedStatistics,
    SpeedMeter,
    SteadyStatistics,
    TrainingProgress,
)
from egodepth.training.checkpoints import (
    CHECKPOINT_FOLDER,
    LAST_CHECKPOINT,
    WholeFileCheckpoints,
    has_checkpoint,
    read_last_checkpoint,
)
from egodepth.training.early_stop import EarlyStop
from egodepth.training.stopping import CheckpointWriter

NARROW = 8
"""Input channels below which oneDNN's gradient of a strided 1x1 convolution writes past its buffer, with channels last
on processors without AVX-512 (its issue 6035): a crash, a hang, or wrong gradients."""

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

FLUSH_SECONDS = 5
"""Between two looks of TensorBoard's writer at what there is to do."""


def fit(
    method: Method,
    training_set: TrainingDataset,
    validation_set: TrainingDataset | None,
    frame_size: tuple[int, int],
    config: TrainingConfig,
    run: Path,
    resume: bool,
    release: Callable[[Method, int], None],
    steady: Callable[[nn.Module], nn.Module] | None = None,
) -> None:
    """Train, from the start or from the run's last checkpoint; the method is left with the weights that are released.

    Args:
        frame_size: height and width at which both sets give their frames.
        run: folder for checkpoints, logs and panels.
        resume: go on where the last checkpoint is; without one, start.
        release: writes the released model, with the step that its weights are of; called with every checkpoint, by one
            process.
        steady: from the depth network to the copy that validates; none means that it validates itself.

    Raises:
        UserError: the numbers broke down (the last good checkpoint stays), a file could not be written, or no
            checkpoint to resume from is whole.
        Stopped: a signal asked for it; where the training stands is saved.
    """
    for folder in (run, run / CHECKPOINT_FOLDER, run / "panels"):
        remove_leftovers(folder.absolute())
    checkpoint, known = None, {}
    if resume and has_checkpoint(run):
        checkpoint, content = read_last_checkpoint(run)
        known[checkpoint] = content
    # Lightning sets its loggers' level when it is imported; what it tells of itself would stand twice among our words.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    world = config.devices * config.nodes
    steps = config.steps or _schedule_steps(method.optimiser.epochs, len(training_set), config.batch_size * world)
    # Each start of a run logs to a folder of its own, because Lightning's CSV logger would empty an older one.
    part = f"part_{sum(1 for _ in run.glob('logs/part_*'))}"
    validate_every = min(config.validate_every, steps)
    early_stop = None if config.patience is None else EarlyStop(config.patience, validate_every)
    intervals = config.checkpoint_every, config.checkpoint_minutes
    writer = CheckpointWriter(run / LAST_CHECKPOINT, *intervals, release, early_stop)
    trainer = lightning.Trainer(
        accelerator="auto",
        strategy=_data_parallel(method) if world > 1 else "auto",
        devices=config.devices,
        num_nodes=config.nodes,
        precision=config.precision,
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(config.log_every, steps),
        enable_model_summary=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        default_root_dir=run,
        logger=[
            # Ctrl-C in the midst of a write can make the writer's thread miss that it is to end, until it next looks.
            TensorBoardLogger(run, "tensorboard", version=part, flush_secs=FLUSH_SECONDS),
            CSVLogger(run, "logs", version=part),
        ],
        plugins=[WholeFileCheckpoints(known)],
        callbacks=[
            TrainingProgress(),
            SpeedMeter(config.batch_size * world),
            SharedStatistics(),
            *([] if steady is None else [SteadyStatistics(steady)]),
            NumericalWatch(run / LAST_CHECKPOINT),
            LossWatch(steps),
            BorderWatch(steps),
            PanelWriter(run / "panels"),
            *([] if early_stop is None else [early_stop]),
            writer,
        ],
    )
    trainer.panels_every = min(config.panels_every, steps)
    if not _has_narrow_strides(method) and not _rounds_on_processor(trainer):
        # Convolutions run 15 % faster so on a CPU, and on tensor cores under mixed precision.
        method.to(memory_format=torch.channels_last)
    data = _Batches(training_set, validation_set, method.cutting(frame_size), config, steps)
    try:
        with _quiet_threads() as lost:
            trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        if lost:
            raise lost[0]
    except OSError as error:
        if error.errno not in DISK_ERRORS or error.filename is not None:
            raise
        # Checkpoints, the model and panels name their files themselves.
        raise UserError(
            f"{run}: the logs cannot be written ({error.strerror}). Make room, then run the same command with --resume."
        ) from error
    except SystemExit as stop:
        if stop.code == 1:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from stop
        raise
    except Stopped:
        if trainer.global_rank:  # the first process says so for all
            raise SystemExit(0) from None
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        if world > 1 and _is_of_another_process(error):
            raise UserError(
                f"{run}: another process of this training was lost. What was saved is whole; run the same command with "
                "--resume."
            ) from error
        if checkpoint is None or writer.has_begun:
            raise
        raise UserError(
            f"{checkpoint}: is no checkpoint of this training ({first_line(error)}). Resume with the egodepth that "
            f"wrote it, or remove {run / CHECKPOINT_FOLDER} and resume to begin anew."
        ) from error
    if early_stop is not None:
        early_stop.take_best(method)


@contextmanager
def _quiet_threads() -> Iterator[list[OSError]]:
    """Keep what stops TensorBoard's writing thread from the terminal, and give it.

    The thread's error is raised where the next value is logged; after the last value it was a traceback and no error.
    """
    before, lost = threading.excepthook, []

    def keep(stopped: threading.ExceptHookArgs) -> None:
        if isinstance(stopped.exc_value, OSError):
            lost.append(stopped.exc_value)
        else:
            before(stopped)

    threading.excepthook = keep
    try:
        yield lost
    finally:
        threading.excepthook = before


class _Batches(lightning.LightningDataModule):
    """Feeds the steps that are left; the step to start from travels with the checkpoint."""

    def __init__(
        self,
        training_set: TrainingDataset,
        validation_set: TrainingDataset | None,
        cutting: Cutting | None,
        config: TrainingConfig,
        steps: int,
    ) -> None:
        super().__init__()
        self.training_set, self.validation_set = training_set, validation_set
        self.cutting, self.config, self.steps = cutting, config, steps
        self.start_step = 0

    def state_dict(self) -> dict[str, int]:
        return {"step": self.trainer.global_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start_step = state["step"]

    def train_dataloader(self) -> "_Endless":
        sampler = StepSampler(
            len(self.training_set),
            self.config.batch_size,
            self.config.seed,
            start_step=self.start_step,
            stop_step=self.steps,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            parts=getattr(self.training_set, "parts", None),
        )
        workers = _workers(self.config, self.trainer.world_size)
        return _Endless(make_loader(self.training_set, sampler, workers, self._pin(), self.cutting, self.config.seed))

    def val_dataloader(self) -> BatchLoader | list:
        if self.validation_set is None or len(self.validation_set) == 0:
            return []
        rank, world = self.trainer.global_rank, self.trainer.world_size
        batches = sequential_batches(len(self.validation_set), self.config.batch_size, rank, world)
        return make_loader(self.validation_set, batches, workers=0, pin_memory=self._pin())

    def _pin(self) -> bool:
        return self.trainer.strategy.root_device.type == "cuda"


class _Endless:
    """A loader without a length, because Lightning would count the batches of a resumed run from zero."""

    def __init__(self, loader: BatchLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.loader)


def _data_parallel(method: Method) -> DDPStrategy:
    return DDPStrategy(broadcast_buffers=False, find_unused_parameters=not method.uses_every_parameter)


def _has_narrow_strides(network: nn.Module) -> bool:
    return any(
        layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels // layer.groups < NARROW
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    )


def _rounds_on_processor(trainer: lightning.Trainer) -> bool:
    """Whether a processor computes in bfloat16.

    With channels last, oneDNN's gradient of a depthwise convolution with dilation is wrong then, on processors with
    AVX512_BF16: it reads what nobody wrote.
    """
    return trainer.strategy.root_device.type == "cpu" and trainer.precision != "32-true"


def _is_of_another_process(error: Exception) -> bool:
    """Whether an exchange with another process failed; Gloo says so by its name in the message alone."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def _schedule_steps(epochs: int, samples: int, samples_per_step: int) -> int:
    return epochs * max(1, samples // samples_per_step)


def _workers(config: TrainingConfig, world: int) -> int:
    if config.workers is not None:
        return config.workers
    return min(8, max(0, available_processors() // world - 1))


def check_run_folder(run: Path, resume: bool) -> None:
    """Refuse to train over an earlier run unless it is to be resumed."""
    if has_checkpoint(run) and not resume:
        raise UserError(f"{run}: holds a run already. Add --resume to continue it, or choose another --out.")
