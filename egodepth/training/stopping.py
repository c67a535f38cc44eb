"""Stopping a training when it is asked to: the step is finished, a checkpoint is saved, and the exit code says why.

The askers are Ctrl-C, `kill` and service managers (SIGTERM), and batch schedulers that give notice before they take the
machine back (SIGUSR1). Several processes of one training stop after the same step, whichever of them was asked.
"""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch

from egodepth.errors import Stopped
from egodepth.training.early_stop import EarlyStop

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))

WORKER_ENDED = "DataLoader worker"
"""What PyTorch says when a loading process is gone; a signal to all of a group ends those first."""


class CheckpointWriter(lightning.Callback):
    """Writes the last checkpoint and the released model, and stops the training when it is asked to.

    Args:
        path: of the checkpoint.
        every: steps between two.
        minutes: after which there is one in any case.
        release: writes the released model, with the step that its weights are of; called by one process.
        early_stop: whose best weights are released, and whose validations checkpoints of their steps wait for.

    Raises:
        Stopped: from within the training, after a signal; everything is saved then.
    """

    def __init__(
        self,
        path: Path,
        every: int,
        minutes: float,
        release: Callable[[Any, int], None],
        early_stop: EarlyStop | None = None,
    ) -> None:
        self.path, self.every, self.seconds, self.release = path, every, 60 * minutes, release
        self.early_stop = early_stop
        self.asked = 0
        self.has_begun = False
        self.saved_at = 0.0
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, *_: object) -> None:
        # After Lightning's own, which end a training in the midst of a step.
        self.saved_at, self.has_begun = time.monotonic(), True
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: object) -> None:
        if self.early_stop is None or not self.early_stop.validates(trainer):
            self._save_where_due(trainer, module)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if self.early_stop is not None:
            self._save_where_due(trainer, module)

    def _save_where_due(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        step = trainer.global_step
        asked, late = self._agreed(trainer)
        if asked or late or step % self.every == 0 or step == trainer.max_steps or trainer.should_stop:
            self._save(trainer, module)
        if asked:
            raise self._stopped(trainer, asked)

    def on_exception(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Save also when a signal ended the loading processes while the next batch was waited for."""
        if self.asked and WORKER_ENDED in str(exception) and trainer.world_size == 1 and trainer.global_step:
            self._save(trainer, module)
            raise self._stopped(trainer, self.asked) from exception

    def teardown(self, *_: object, **__: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: object) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second time at once
        self.asked = self.asked or number

    def _agreed(self, trainer: lightning.Trainer) -> tuple[int, bool]:
        """The signal that any process got, and whether a checkpoint is due by the first one's clock."""
        late = trainer.is_global_zero and time.monotonic() - self.saved_at >= self.seconds
        if trainer.world_size == 1:
            return self.asked, late
        noted = torch.tensor([self.asked, int(late)], device=trainer.strategy.root_device)
        torch.distributed.all_reduce(noted, op=torch.distributed.ReduceOp.MAX)
        asked, late = noted.tolist()
        return asked, bool(late)

    def _save(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        # The model first, so that a run that can be resumed always has one.
        if trainer.is_global_zero and self.early_stop is None:
            self.release(module, trainer.global_step)
        elif trainer.is_global_zero:
            with self.early_stop.best_weights(module) as step:
                self.release(module, step)
        trainer.save_checkpoint(self.path)
        self.saved_at = time.monotonic()

    def _stopped(self, trainer: lightning.Trainer, number: int) -> Stopped:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        return Stopped(
            f"stopped by {name} after step {trainer.global_step} of {trainer.max_steps}, which {self.path} holds. "
            "The same command with --resume goes on from there.",
            number,
        )
