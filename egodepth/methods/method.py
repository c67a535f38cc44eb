"""What every training scheme shares: schedule, exact resume, logs, checkpoints.

Randomness is stateless. The order of the samples, their augmentation and all noise of a step are functions of the
seed and of the step's number, so a run that was killed and resumed, whatever the number of loader workers, walks
the same path as one that was not.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor, nn

from egodepth.data.samples import Batch
from egodepth.methods.configurations import OptimiserConfig
from egodepth.networks.drop import set_drop_rates


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
    """

    parameters: Sequence[nn.Parameter]
    factor: Callable[[int, int], float] = _as_scheduled


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

    def parameter_groups(self) -> list[ParameterGroup]:
        """All parameters, each in one group; the logs tell the first one's rate."""
        return [ParameterGroup(tuple(self.parameters()))]

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
        groups = self.parameter_groups()
        optimiser = algorithm(
            [{"params": [parameter for parameter in group.parameters if parameter.requires_grad]} for group in groups],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )

        def rate_of(group: ParameterGroup) -> Callable[[int], float]:
            return lambda step: group.factor(step, total) * learning_rate_factor(config, step, total)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, [rate_of(group) for group in groups])
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


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
