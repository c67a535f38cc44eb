"""Signals that reach a training in the midst of a step: a stop or a kill that no clock decides."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from lightning.pytorch import Trainer

from egodepth.training import fit
from egodepth.training.callbacks import LossWatch

AT_ONCE = (signal.SIGINT, signal.SIGINT)
"""Ends a training without saving anything more, as a kill does; the exit code is 130."""


@contextmanager
def signalled(step: int, *numbers: signal.Signals) -> Iterator[None]:
    """Trainings of this process get the signals in the midst of a step, the first of which is 1."""

    class Signalling(LossWatch):
        def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
            if trainer.global_step == step - 1:
                for number in numbers:
                    os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "LossWatch", Signalling)
        yield
