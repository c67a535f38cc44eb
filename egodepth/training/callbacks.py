"""What happens around a training step: files, logs, and words about a run that goes wrong."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from rich.progress import TextColumn, TimeElapsedColumn
from torch import Tensor, nn

from egodepth.colour import colour_depth
from egodepth.data.transforms import resize
from egodepth.errors import UserError
from egodepth.files import replacing
from egodepth.progress import Bar, progress_bar

log = logging.getLogger("egodepth")

PANEL_SAMPLES = 2


class TrainingProgress(lightning.Callback):
    """A bar over the whole run, resumed part included, with the loss and the time left."""

    def __init__(self) -> None:
        self.bar: Bar | None = None

    @rank_zero_only
    def on_train_start(self, trainer: lightning.Trainer, *_: object) -> None:
        figures = TextColumn("{task.fields[figures]}", markup=False)
        self.bar = progress_bar(True, figures, TimeElapsedColumn())
        self.task = self.bar.add_task("Training", total=trainer.max_steps, completed=trainer.global_step, figures="")
        self.bar.start()

    @rank_zero_only
    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        figures = [
            f"{name.replace('_', ' ')} {float(value):.4g}" for name, value in trainer.progress_bar_metrics.items()
        ]
        self.bar.update(self.task, completed=trainer.global_step, figures="  ".join(figures))

    @rank_zero_only
    def on_validation_start(self, *_: object) -> None:
        self.bar.update(self.task, description="Validating")

    @rank_zero_only
    def on_validation_end(self, *_: object) -> None:
        self.bar.update(self.task, description="Training")

    def teardown(self, *_: object, **__: object) -> None:
        if self.bar is not None:
            self.bar.stop()


class SpeedMeter(lightning.Callback):
    """Logs learning rate and images per second, counted over the steps between two lines of the log."""

    def __init__(self, samples_per_step: int) -> None:
        self.samples_per_step = samples_per_step
        self.since: float | None = None
        self.steps = 0

    def on_validation_start(self, *_: object) -> None:
        self.since = None

    def on_train_batch_start(self, *_: object) -> None:
        if self.since is None:
            self.since, self.steps = time.perf_counter(), 0

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object) -> None:
        self.steps += 1
        if trainer.global_step % trainer.log_every_n_steps:
            return
        speed = self.steps * self.samples_per_step / (time.perf_counter() - self.since)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        module.log("images_per_second", speed, prog_bar=True, batch_size=1)
        module.log("learning_rate", rate, batch_size=1)
        self.since = None


class SharedStatistics(lightning.Callback):
    """Gives every process the batch statistics of the first one before they are used or kept.

    DDP itself would do so at every forward pass, in validation too, where processes with unequal shares of the
    frames would then wait for each other for ever.
    """

    def on_validation_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._share(trainer, module)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._share(trainer, module)

    def _share(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.world_size > 1:
            for buffer in module.buffers():
                torch.distributed.broadcast(buffer, src=0)


class SteadyStatistics(lightning.Callback):
    """Validates a depth network as it will be used: with running averages that no dropped branch has a part in.

    Args:
        steady: from the depth network to its copy for use.
    """

    def __init__(self, steady: Callable[[nn.Module], nn.Module]) -> None:
        self.steady = steady
        self.trained: nn.Module | None = None

    def on_validation_start(self, _: lightning.Trainer, module: lightning.LightningModule) -> None:
        trained = module.depth_network
        module.depth_network = self.steady(trained).eval()
        self.trained = trained

    def on_validation_end(self, _: lightning.Trainer, module: lightning.LightningModule) -> None:
        module.depth_network, self.trained = self.trained, None


class NumericalWatch(lightning.Callback):
    """Stops before a step whose gradient is not finite, while the weights are still good.

    The gradient is looked at rather than the loss because under DDP it is the same in every process, so that all of
    them stop.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object
    ) -> None:
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        module.log("gradient_norm", norm, batch_size=1)
        if torch.isfinite(norm):
            return
        if self.checkpoint.is_file():
            kept = f"The last good weights are in {self.checkpoint}"
        else:
            kept = "No checkpoint had been written yet"
        raise UserError(
            f"step {trainer.global_step + 1}: the loss or its gradient is not a number any more; training stopped. "
            f"{kept}. Lower --optimiser.learning-rate, train with --precision 32-true, and look for broken frames "
            "or wrong intrinsics in the data."
        )


class LossWatch(lightning.Callback):
    """Says so when the loss stops falling, and when the depth has collapsed to one value.

    The run is cut into windows of 2 % (at least 100 steps); a warning comes when five windows in turn bring no mean
    loss 0.5 % under the best before them, and once only.
    """

    WINDOWS = 50
    PATIENCE = 5
    LEAST_GAIN = 0.005
    FLAT = 1e-3
    STATE = ("sum", "count", "best", "best_step", "warned_stuck", "warned_flat")

    def __init__(self, steps: int) -> None:
        self.window = max(100, steps // self.WINDOWS)
        self.sum, self.count = 0.0, 0
        self.best, self.best_step = float("inf"), 0
        self.warned_stuck = self.warned_flat = False

    def state_dict(self) -> dict[str, Any]:
        # By name, because Lightning hangs things of its own on a callback.
        return {name: getattr(self, name) for name in self.STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, *_: object
    ) -> None:
        self.sum = self.sum + outputs["loss"].detach()
        self.count += 1
        if self.count < self.window:
            return
        mean = float(self.sum) / self.count
        self.sum, self.count = 0.0, 0
        self._judge_loss(mean, trainer.global_step)
        self._judge_depth(module, trainer.global_step)

    def _judge_loss(self, mean: float, step: int) -> None:
        if mean < self.best * (1 - self.LEAST_GAIN):
            self.best, self.best_step = mean, step
        elif not self.warned_stuck and step - self.best_step >= self.PATIENCE * self.window:
            self.warned_stuck = True
            _warn(
                f"The loss has not fallen since step {self.best_step} ({self.best:.4f} then, {mean:.4f} now). Late in "
                "a run this means that it has converged and may be stopped. Early in a run it means that nothing is "
                "learnt: check the intrinsics, that consecutive frames really move (--data.stride), and try a lower "
                "--optimiser.learning-rate."
            )

    def _judge_depth(self, module: lightning.LightningModule, step: int) -> None:
        variation = module.depth_variation
        if variation is not None and float(variation) < self.FLAT and not self.warned_flat:
            self.warned_flat = True
            _warn(
                f"At step {step} the predicted depth is the same everywhere in the image: the network has collapsed. "
                "Start again with another --seed, a lower --optimiser.learning-rate or pretrained encoders "
                "(--pretrained imagenet)."
            )


class BorderWatch(lightning.Callback):
    """Logs how much of the depth lies at the ends of the network's range, and says so where that stays too much.

    Depth from video alone has no unit of its own and can drift towards an end, where it is cut off. At the far end
    there is always something, the sky first. The run is cut into windows of 2 % (at least 100 steps); a warning comes
    when five windows in turn are over a limit, once for each end.
    """

    WINDOWS = 50
    PATIENCE = 5
    LIMITS = (("near", 0.05), ("far", 0.5))
    STATE = ("sums", "count", "over", "warned")

    def __init__(self, steps: int) -> None:
        self.window = max(100, steps // self.WINDOWS)
        self.sums, self.count = [0.0, 0.0], 0
        self.over, self.warned = [0, 0], [False, False]

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STATE} | {"sums": [float(value) for value in self.sums]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object) -> None:
        if module.border_shares is None:
            return
        if trainer.global_step % trainer.log_every_n_steps == 0:
            for (end, _), share in zip(self.LIMITS, module.border_shares, strict=True):
                module.log(f"share_at_{end}_border", share, batch_size=1)
        self.sums = [total + share for total, share in zip(self.sums, module.border_shares, strict=True)]
        self.count += 1
        if self.count < self.window:
            return
        for place, (end, limit) in enumerate(self.LIMITS):
            self._judge(place, end, float(self.sums[place]) / self.count, limit, trainer.global_step)
        self.sums, self.count = [0.0, 0.0], 0

    def _judge(self, place: int, end: str, share: float, limit: float, step: int) -> None:
        self.over[place] = self.over[place] + 1 if share > limit else 0
        if self.over[place] < self.PATIENCE or self.warned[place]:
            return
        self.warned[place] = True
        _warn(
            f"Until step {step}, {share:.0%} of all pixels lie at the {end} end of the depths that the network can "
            "give, where they are cut off. Video alone fixes no unit, and this one has drifted: start from weights "
            "that have one (--from starter), or train with stereo pairs."
        )


class PanelWriter(lightning.Callback):
    """Writes the pictures that a method shows to TensorBoard and to PNG files, one row a sample."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @rank_zero_only
    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object) -> None:
        if module.panels is None:
            return
        picture = panel_picture(module.panels)
        module.panels = None
        with replacing(self.folder / f"step_{trainer.global_step:07d}.png") as temporary:
            Image.fromarray(picture).save(temporary)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("panels", picture, trainer.global_step, dataformats="HWC")


def panel_picture(panels: dict[str, Tensor]) -> np.ndarray:
    """Columns of pictures, one for each name, rows of samples, as (H, W, 3) uint8; all as large as the first ones."""
    columns = []
    size = next(iter(panels.values())).shape[-2:]
    for name, images in panels.items():
        # RPrDepth may judge its views at the student's size, where frames are read at the teacher's.
        images = resize(images[:PANEL_SAMPLES].float().cpu(), *size)
        if name == "depth":
            rows = [colour_depth(image[0].numpy()) for image in images]
        else:
            scaled = (images.expand(-1, 3, -1, -1).clamp(0, 1) * 255).round().byte()
            rows = list(scaled.permute(0, 2, 3, 1).numpy())
        columns.append(np.concatenate(rows))
    return np.concatenate(columns, axis=1)


@rank_zero_only
def _warn(message: str) -> None:
    log.warning(message)
