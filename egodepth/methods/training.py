"""What every training scheme shares: schedule, exact resume, logs, checkpoints.

Randomness is stateless. The order of the samples, their augmentation and all noise of a step are functions of the
seed and of the step's number, so a run that was killed and resumed, whatever the number of loader workers, walks
the same path as one that was not.
"""

import math
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from egodepth.data.loading import BatchLoader, StepSampler, make_loader, sequential_batches
from egodepth.data.samples import Batch, TrainingDataset
from egodepth.errors import UserError
from egodepth.methods.callbacks import (
    CheckpointWriter,
    LossWatch,
    NumericalWatch,
    PanelWriter,
    SharedStatistics,
    SpeedMeter,
    TrainingProgress,
    WholeFileCheckpoints,
)
from egodepth.networks.drop import set_drop_rates

LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"

FLUSH_SECONDS = 5
"""Between two looks of TensorBoard's writer at what there is to do."""


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam or AdamW, and how the learning rate goes.

    Attributes:
        algorithm: adam, or adamw with its decoupled weight decay.
        learning_rate: at the start, or at the top of the warm-up.
        beta1, beta2: of the running moments.
        weight_decay: of AdamW.
        epochs: length of the published schedule; --steps squeezes the same schedule into that many steps.
        schedule: `steps` multiplies the rate at each of the decay epochs, `cosine` lets it fall to the final rate.
        decay_epochs: after how many of these epochs the rate drops.
        decay_factor: what it is multiplied by then.
        warm_up: share of the run over which the rate rises from zero.
        final_learning_rate: where the cosine ends.
    """

    algorithm: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    epochs: int = 20
    schedule: Literal["steps", "cosine"] = "steps"
    decay_epochs: tuple[int, ...] = (15,)
    decay_factor: float = 0.1
    warm_up: float = 0.0
    final_learning_rate: float = 1e-6


def learning_rate_factor(config: OptimiserConfig, step: int, total: int) -> float:
    """What the learning rate is multiplied by at a step of `total`.

    The published schedules count epochs; the share of the run at which something happens is what carries over to a
    run of any length.
    """
    warm_up_steps = round(config.warm_up * total)
    if step < warm_up_steps:
        return (step + 1) / warm_up_steps
    if config.schedule == "steps":
        drops = sum(step >= math.ceil(total * epoch / config.epochs) for epoch in config.decay_epochs)
        return config.decay_factor**drops
    progress = (step - warm_up_steps) / max(1, total - warm_up_steps)
    lowest = config.final_learning_rate / config.learning_rate
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class TrainingConfig:
    """How long, on what, and how often to look.

    Attributes:
        steps: optimiser steps; none means the epochs of the recipe.
        batch_size: samples per step and device.
        seed: of everything random; the same seed, data and machine give the same weights.
        devices: processes on this machine, one for each accelerator (or CPU share).
        nodes: machines that train together.
        precision: of the networks; geometry and losses stay in float32.
        workers: loader processes; none means one less than the processor's cores, at most 8.
        log_every: steps between two lines of the log.
        validate_every: steps between two validations.
        checkpoint_every: steps between two checkpoints.
        panels_every: steps between two image panels.
    """

    steps: int | None = None
    batch_size: int = 12
    seed: int = 0
    devices: int = 1
    nodes: int = 1
    precision: str = "32-true"
    workers: int | None = None
    log_every: int = 25
    validate_every: int = 500
    checkpoint_every: int = 250
    panels_every: int = 500


class Method(lightning.LightningModule):
    """A training scheme. A subclass gives `losses`, `validation_step` and `networks`.

    Attributes:
        uses_every_parameter: each part of the loss reaches all parameters. Where not, processes that train together
            must look which ones it did reach.
    """

    uses_every_parameter = True

    def __init__(self, optimiser: OptimiserConfig, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.optimiser = optimiser
        self.seed = seed
        self.panels: dict[str, Tensor] | None = None
        self.depth_variation: Tensor | None = None

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[Tensor]:
        """The parts of a step's loss, in turn.

        Each part is differentiated before the next one is computed, so that no more than one part's activations are
        in memory at a time. The step follows the sum of their gradients.
        """

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """The networks that a released model holds, by the first part of their tensors' names."""

    def training_step(self, batch: Batch, _: int) -> dict[str, Tensor]:
        optimiser = self.optimizers()
        optimiser.zero_grad()
        total = torch.zeros((), device=self.device)
        for part in self.losses(batch):
            self.manual_backward(part)
            total += part.detach()
        optimiser.step()
        self.lr_schedulers().step()
        self.log_training({"loss": total}, len(batch))
        return {"loss": total}

    def configure_optimizers(self) -> dict:
        config, total = self.optimiser, self.trainer.max_steps
        algorithm = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.algorithm]
        optimiser = algorithm(
            [parameter for parameter in self.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(config, step, total))
        return {"optimizer": optimiser, "lr_scheduler": schedule}

    def on_train_batch_start(self, *_: object) -> None:
        torch.manual_seed(_step_seed(self.seed, self.global_step, self.global_rank))
        set_drop_rates(self, self.global_step, self.trainer.max_steps)

    def log_training(self, values: Mapping[str, Tensor], batch_size: int) -> None:
        """Log scalars of this step; `loss` also on the progress bar."""
        for name, value in values.items():
            self.log(name, value, prog_bar=name == "loss", batch_size=batch_size)

    def watch_depth(self, depth: Tensor) -> None:
        """Keep how much the depth of this batch (B, 1, H, W) varies over each image, relative to its mean."""
        depth = depth.detach().float()
        self.depth_variation = (depth.std((2, 3)) / depth.mean((2, 3))).mean()

    def wants_panels(self) -> bool:
        """Whether this step's pictures will be kept."""
        every = self.trainer.panels_every
        return self.global_rank == 0 and (self.global_step + 1) % every == 0

    def show_panels(self, panels: Mapping[str, Tensor]) -> None:
        """Hand pictures (B, C, H, W) of this step to the logs; `depth` is coloured, the others are in [0, 1]."""
        self.panels = {name: image.detach() for name, image in panels.items()}


def fit(
    method: Method,
    training_set: TrainingDataset,
    validation_set: TrainingDataset | None,
    config: TrainingConfig,
    run: Path,
    resume: bool,
    release: Callable[[Method], None],
) -> None:
    """Train, from the start or from the run's last checkpoint.

    Args:
        run: folder for checkpoints, logs and panels.
        resume: go on where the last checkpoint is; without one, start.
        release: writes the released model; called with every checkpoint, by one process.

    Raises:
        UserError: the numbers broke down (the last good checkpoint stays), or a file could not be written.
    """
    world = config.devices * config.nodes
    steps = config.steps or _schedule_steps(method.optimiser.epochs, len(training_set), config.batch_size * world)
    # Each start of a run logs to a folder of its own, because Lightning's CSV logger would empty an older one.
    part = f"part_{sum(1 for _ in run.glob('logs/part_*'))}"
    trainer = lightning.Trainer(
        accelerator="auto",
        strategy=_data_parallel(method) if world > 1 else "auto",
        devices=config.devices,
        num_nodes=config.nodes,
        precision=config.precision,
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=min(config.validate_every, steps),
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
        plugins=[WholeFileCheckpoints()],
        callbacks=[
            TrainingProgress(),
            SpeedMeter(config.batch_size * world),
            SharedStatistics(),
            NumericalWatch(run / LAST_CHECKPOINT),
            LossWatch(steps),
            PanelWriter(run / "panels"),
            CheckpointWriter(run / LAST_CHECKPOINT, config.checkpoint_every, release),
        ],
    )
    trainer.panels_every = min(config.panels_every, steps)
    # Convolutions run 15 % faster so on a CPU, and on tensor cores under mixed precision.
    method.to(memory_format=torch.channels_last)
    checkpoint = run / LAST_CHECKPOINT if resume and (run / LAST_CHECKPOINT).is_file() else None
    data = _Batches(training_set, validation_set, config, steps)
    try:
        trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stop:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from stop


class _Batches(lightning.LightningDataModule):
    """Feeds the steps that are left; the step to start from travels with the checkpoint."""

    def __init__(
        self,
        training_set: TrainingDataset,
        validation_set: TrainingDataset | None,
        config: TrainingConfig,
        steps: int,
    ) -> None:
        super().__init__()
        self.training_set, self.validation_set = training_set, validation_set
        self.config, self.steps = config, steps
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
        )
        workers = _workers(self.config, self.trainer.world_size)
        return _Endless(make_loader(self.training_set, sampler, workers, self._pin()))

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


def _schedule_steps(epochs: int, samples: int, samples_per_step: int) -> int:
    return epochs * max(1, samples // samples_per_step)


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)


def _workers(config: TrainingConfig, world: int) -> int:
    if config.workers is not None:
        return config.workers
    return min(8, max(0, (os.cpu_count() or 1) // world - 1))


def check_run_folder(run: Path, resume: bool) -> None:
    """Refuse to train over an earlier run unless it is to be resumed."""
    if (run / LAST_CHECKPOINT).is_file() and not resume:
        raise UserError(f"{run}: holds a run already. Add --resume to go on with it, or choose another --out.")
