"""Ending a training once it explains held-out frames no better, with the weights that explained them best."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

log = logging.getLogger("egodepth")

WATCHED = "validation_synthesis"


class EarlyStop(lightning.Callback):
    """Keeps the weights of the best validation, and ends the training when none was better for some of them.

    All that it knows travels with the checkpoint, the best weights too, so that a resumed run ends as one that was not
    stopped. A validation belongs to its step: Lightning does not make up for one that a kill prevented, so that a
    checkpoint of such a step has to be written after it.

    Args:
        patience: validations in turn that may bring no lower error.
        every: steps between two validations; the last step has one in any case.
    """

    STATE = ("best", "best_step", "worse", "latest", "weights")

    def __init__(self, patience: int, every: int) -> None:
        self.patience, self.every = patience, every
        self.best, self.best_step = float("inf"), 0
        self.worse, self.latest = 0, float("nan")
        self.weights: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def validates(self, trainer: lightning.Trainer) -> bool:
        """Whether the step that was just made is followed by a validation."""
        return trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps

    @contextmanager
    def best_weights(self, module: lightning.LightningModule) -> Iterator[int]:
        """Put the best weights into the module for a while; gives their step. Before the first validation, its own."""
        if not self.weights:
            yield module.global_step
            return
        own = _copy(module)
        module.load_state_dict(self.weights)
        try:
            yield self.best_step
        finally:
            module.load_state_dict(own)

    def take_best(self, module: lightning.LightningModule) -> None:
        """Leave the best weights in a module that is trained."""
        if self.weights:
            module.load_state_dict(self.weights)

    def on_train_start(self, trainer: lightning.Trainer, *_: object) -> None:
        if self.worse >= self.patience:  # a run that had ended is resumed
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        # Lightning then validates once more, whatever the interval.
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.latest = float(trainer.callback_metrics[WATCHED])
        if self.latest < self.best:
            self.best, self.best_step, self.worse = self.latest, trainer.global_step, 0
            self.weights = _copy(module)
            return
        self.worse += 1
        if self.worse >= self.patience:
            trainer.should_stop = True

    @rank_zero_only
    def on_train_end(self, trainer: lightning.Trainer, *_: object) -> None:
        ends = f"Training ends after step {trainer.global_step} of {trainer.max_steps}"
        if self.worse >= self.patience:
            ends += f": {self.worse} validations in turn had no lower {WATCHED} ({self.latest:.4f} now)"
        log.info("%s. The weights of step %d are released, which had %.4f.", ends, self.best_step, self.best)


def _copy(module: lightning.LightningModule) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
