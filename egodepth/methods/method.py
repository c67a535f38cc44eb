"""What every training scheme shares: schedule, exact resume, logs, checkpoints.

Randomness is stateless. The order of the samples, their augmentation and all noise of a step are functions of the
seed and of the step's number, so a run that was killed and resumed, whatever the number of loader workers, walks
the same path as one that was not.
"""

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor, nn

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.cutting import Cutting
from egodepth.data.samples import Batch, LearningCamera
from egodepth.data.transforms import Views, augment
from egodepth.methods.configurations import LearnedCameraConfig, OptimiserConfig
from egodepth.methods.learned_camera import LearnedCameras
from egodepth.networks.drop import set_drop_rates

log = logging.getLogger("egodepth")


BORDER_SHARE = 0.02
"""How near to an end of its range depth has no value of its own any more."""


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


def _as_scheduled(step: int, total: int) -> float:
    return 1.0


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that have a learning rate of their own.

    Attributes:
        parameters: those that need no gradient are left out.
        factor: of the schedule's rate, at a step of `total`.
        weight_decay: in place of the optimiser's.
    """

    parameters: Sequence[nn.Parameter]
    factor: Callable[[int, int], float] = _as_scheduled
    weight_decay: float | None = None


class Method(lightning.LightningModule):
    """A training scheme. A subclass gives `augmentation_of`, `losses`, `validation_step` and `networks`.

    Attributes:
        uses_every_parameter: each part of the loss reaches all parameters. Where not, processes that train together
            must look which ones it did reach.
        cameras: whose intrinsics are learnt; None where all are given.
        focal: focal length, in widths of the picture, of the camera for which a unit of depth has its length. Through
            another one, as after an enlargement, the unit is as many times as long as the focal length is, so that
            what looks alike has one depth (Metric3D, Yin et al., ICCV 2023, section 3.2). None takes all pictures for
            of one camera, as the published systems do.
    """

    uses_every_parameter = True

    def __init__(self, optimiser: OptimiserConfig, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.optimiser = optimiser
        self.seed = seed
        self.panels: dict[str, Tensor] | None = None
        self.depth_variation: Tensor | None = None
        self.border_shares: Tensor | None = None
        self.cameras: LearnedCameras | None = None
        self.focal: float | None = None
        self._norms_are_frozen = False

    @abstractmethod
    def augmentation_of(self, frame_size: tuple[int, int]) -> AugmentationConfig:
        """How samples are changed whose whole frames have this height and width."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[Tensor]:
        """The parts of a step's loss, in turn.

        Each part is differentiated before the next one is computed, so that no more than one part's activations are
        in memory at a time. The step follows the sum of their gradients.
        """

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """The networks that a released model holds, by the first part of their tensors' names."""

    def parameter_groups(self) -> list[ParameterGroup]:
        """All parameters but those of learnt cameras, each in one group; the logs tell the first one's rate."""
        return [ParameterGroup(tuple(self.network_parameters()))]

    def network_parameters(self) -> Iterator[nn.Parameter]:
        """All parameters but those of learnt cameras."""
        return (parameter for name, parameter in self.named_parameters() if not name.startswith("cameras."))

    def freeze_norms(self) -> None:
        """Let batch norms keep their statistics while training goes on."""
        self._norms_are_frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As of any module, but frozen batch norms stay in evaluation mode."""
        super().train(mode)
        if self._norms_are_frozen:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def learn_cameras(self, cameras: Sequence[LearningCamera], config: LearnedCameraConfig) -> None:
        """Learn the intrinsics of these cameras beside depth and motion."""
        self.cameras = LearnedCameras(cameras, config)
        self.uses_every_parameter = False

    def cutting(self, frame_size: tuple[int, int]) -> Cutting | None:
        """How the loader is to scale and cut frames of this size; None where it reads them whole.

        Frames that keep their scale are read whole, and remembered; cutting them costs nothing.
        """
        config = self.augmentation_of(frame_size)
        return Cutting(config, self.seed, frame_size) if config.native and config.scales else None

    def augmented(self, batch: Batch) -> Views:
        """The batch as this step trains on it, seen by the learnt cameras where there are any."""
        config = self.augmentation_of(batch.frame_size)
        if self.cameras is None:
            return augment(batch, config, self.seed, self.global_step)
        views = augment(self.cameras.given_to(batch), config, self.seed, self.global_step)
        if self.cameras.frozen(self.global_step, self.trainer.max_steps):
            return replace(views, intrinsics=views.intrinsics.detach())
        return self.cameras.hold(views)

    def on_after_batch_transfer(self, batch: Batch, _: int) -> Batch:
        """Validation sees what the learnt cameras see; training asks them anew (`augmented`)."""
        if self.cameras is None:
            return batch
        with torch.no_grad():
            return self.cameras.given_to(batch)

    def focal_ratio(self, views: Views) -> Tensor:
        """How many times as long as `focal` the focal lengths of the views are, (B,)."""
        if self.focal is None:
            return torch.ones_like(views.baseline_m)
        return views.intrinsics[:, 0, 0] / (views.size[1] * self.focal)

    def training_step(self, batch: Batch, _: int) -> dict[str, Tensor]:
        optimiser = self.optimizers()
        optimiser.zero_grad()
        total = torch.zeros((), device=self.device)
        for part in self._parts(batch):
            self.manual_backward(part)
            total += part.detach()
        optimiser.step()
        self.lr_schedulers().step()
        self.log_training({"loss": total}, len(batch))
        if self.cameras is not None:
            self.log_training(self.cameras.values(), len(batch))
        return {"loss": total}

    def _parts(self, batch: Batch) -> Iterator[Tensor]:
        yield from self.losses(batch)
        if self.cameras is not None:
            yield from self.cameras.wishes()

    def configure_optimizers(self) -> dict:
        config, total = self.optimiser, self.trainer.max_steps
        algorithm = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.algorithm]
        groups = self.parameter_groups()
        if self.cameras is not None:
            groups.append(self._camera_group())
        optimiser = algorithm(
            [_as_options(group) for group in groups],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )

        def rate_of(group: ParameterGroup) -> Callable[[int], float]:
            return lambda step: group.factor(step, total) * learning_rate_factor(config, step, total)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, [rate_of(group) for group in groups])
        return {"optimizer": optimiser, "lr_scheduler": schedule}

    def _camera_group(self) -> ParameterGroup:
        """A decay would pull the cameras back to where they started."""
        cameras = self.cameras

        def factor(step: int, total: int) -> float:
            return 0.0 if cameras.frozen(step, total) else cameras.config.rate

        return ParameterGroup(tuple(cameras.parameters()), factor, weight_decay=0.0)

    def on_train_batch_start(self, *_: object) -> None:
        torch.manual_seed(_step_seed(self.seed, self.global_step, self.global_rank))
        set_drop_rates(self, self.global_step, self.trainer.max_steps)

    def log_training(self, values: Mapping[str, Tensor], batch_size: int) -> None:
        """Log scalars of this step; `loss` also on the progress bar."""
        for name, value in values.items():
            self.log(name, value, prog_bar=name == "loss", batch_size=batch_size)

    def watch_depth(self, depth: Tensor, nearest: float | None = None, farthest: float | None = None) -> None:
        """Keep what the depth of this batch (B, 1, H, W) is like: how much it varies, and how much lies at a border.

        Args:
            nearest, farthest: the range that the network can give; none where it has no borders.
        """
        depth = depth.detach().float()
        self.depth_variation = (depth.std((2, 3)) / depth.mean((2, 3))).mean()
        if nearest is not None:
            at_border = depth < nearest * (1 + BORDER_SHARE), depth > farthest * (1 - BORDER_SHARE)
            self.border_shares = torch.stack([each.float().mean() for each in at_border])

    def wants_panels(self) -> bool:
        """Whether this step's pictures will be kept."""
        every = self.trainer.panels_every
        return self.global_rank == 0 and (self.global_step + 1) % every == 0

    def show_panels(self, panels: Mapping[str, Tensor]) -> None:
        """Hand pictures (B, C, H, W) of this step to the logs; `depth` is coloured, the others are in [0, 1]."""
        self.panels = {name: image.detach() for name, image in panels.items()}


def _as_options(group: ParameterGroup) -> dict:
    options = {"params": [parameter for parameter in group.parameters if parameter.requires_grad]}
    return options if group.weight_decay is None else options | {"weight_decay": group.weight_decay}


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
