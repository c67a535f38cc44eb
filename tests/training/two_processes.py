"""Train as one of two nodes of a process each and leave what this one saw: run by test_training.py, through torchrun.

A script of its own, because torchrun starts scripts.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as lightning

from egodepth.recipes import RECIPES
from egodepth.training import fit
from egodepth.training.runs import train

TINY = "mobilenetv3_small_050"


class Witness(lightning.Callback):
    """Keeps the samples, the validation losses and the final weights of its process."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.validation: list[tuple[float, int]] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, *_) -> None:
        self.seen += batch.names

    def on_validation_start(self, *_) -> None:
        self.validation = []

    def on_validation_batch_end(self, trainer, module, outputs, batch, *_) -> None:
        loss = trainer._results["validation_step.validation_loss"]
        self.validation.append((float(loss.value) - sum(a * b for a, b in self.validation), len(batch)))
        self.validation[-1] = (self.validation[-1][0] / len(batch), len(batch))

    def on_fit_end(self, trainer, module) -> None:
        digest = hashlib.sha256()
        for parameter in module.parameters():
            digest.update(parameter.detach().numpy().tobytes())
        report = {"weights": digest.hexdigest(), "seen": self.seen, "validation": self.validation}
        (out / f"rank{trainer.global_rank}.json").write_text(json.dumps(report))


data, out = Path(sys.argv[1]), Path(sys.argv[2])
witness = Witness()
fit.LossWatch = lambda steps: witness
recipe = RECIPES["monodepth2"]
recipe = replace(
    recipe,
    mode="mono+stereo",
    height=64,
    width=96,
    pretrained="none",
    network=replace(recipe.network, encoder=TINY),
    pose=replace(recipe.pose, encoder=TINY),
    training=replace(recipe.training, batch_size=2, steps=3, devices=1, nodes=2, workers=0, log_every=1),
)
train("monodepth2", recipe, data, out / "run")
