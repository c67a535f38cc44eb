"""Checkpoints on disk: the last two of a run, written whole, and looked through before a training goes on from them."""

import io
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from egodepth.errors import UserError
from egodepth.files import replacing, write_bytes
from egodepth.networks.weights import read_pickled
from egodepth.training.early_stop import EarlyStop

log = logging.getLogger("egodepth")

CHECKPOINT_FOLDER = Path("checkpoints")
LAST_CHECKPOINT = CHECKPOINT_FOLDER / "last.ckpt"
PREVIOUS_CHECKPOINT = CHECKPOINT_FOLDER / "previous.ckpt"
"""The one before, for a last one that was damaged after it was written."""

ENTRIES: dict[str, type] = {
    "global_step": int,
    "state_dict": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "loops": dict,
    "callbacks": dict,
    "_Batches": dict,
}
"""What a checkpoint of a training has in it, by Lightning's names."""


class WholeFileCheckpoints(TorchCheckpointIO):
    """Checkpoints written to a temporary name and renamed: a killed run leaves the older one whole.

    Args:
        known: the contents of files that were read already; they are not read again.
    """

    def __init__(self, known: dict[Path, dict[str, Any]]) -> None:
        self.known = known

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        _keep_previous(Path(path))
        write_bytes(Path(path), buffer.getvalue())

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        return self.known.pop(Path(path))


def has_checkpoint(run: Path) -> bool:
    """Whether there is a checkpoint that a run can go on from."""
    return any((run / name).is_file() for name in (LAST_CHECKPOINT, PREVIOUS_CHECKPOINT))


def read_last_checkpoint(run: Path) -> tuple[Path, dict[str, Any]]:
    """The last checkpoint of a run that is whole, and its content.

    A damaged last one costs the steps since the one before, and a warning says so.

    Raises:
        UserError: none is whole.
    """
    begin = f"Remove {run / CHECKPOINT_FOLDER} and resume to begin anew, or give another run."
    files = [file for file in (run / LAST_CHECKPOINT, run / PREVIOUS_CHECKPOINT) if file.is_file()]
    if not files:
        raise UserError(f"{run}: has no checkpoint. Train it first.")
    for file in files[:-1]:
        try:
            return file, _read(file, f"The one before, {files[-1].name}, is taken.")
        except UserError as error:
            _notice(str(error))
    return files[-1], _read(files[-1], begin)


def released_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of the model that a run releases: of its best validation where it has patience, else the last."""
    early_stop = checkpoint["callbacks"].get(EarlyStop.__qualname__, {})
    return early_stop.get("weights") or checkpoint["state_dict"]


def _read(file: Path, remedy: str) -> dict[str, Any]:
    content = read_pickled(file, remedy)
    for name, kind in ENTRIES.items():
        if not isinstance(content.get(name), kind):
            raise UserError(f"{file}: is no checkpoint of a training ({name} is missing). {remedy}")
    early_stop = content["callbacks"].get(EarlyStop.__qualname__, {})
    if not isinstance(early_stop, dict) or not isinstance(early_stop.get("weights", {}), dict):
        raise UserError(f"{file}: is no checkpoint of a training (its best weights are missing). {remedy}")
    for weights in (content["state_dict"], early_stop.get("weights", {})):
        if not all(isinstance(tensor, Tensor) for tensor in weights.values()):
            raise UserError(f"{file}: its state_dict holds something else than tensors. {remedy}")
    steps = content["global_step"], content["_Batches"].get("step")
    if steps[0] != steps[1] or not 0 <= steps[0] < 2**53:
        raise UserError(f"{file}: says two different steps, {steps[0]} and {steps[1]}. {remedy}")
    return content


def _keep_previous(path: Path) -> None:
    """Give the last checkpoint the name of the one before, while it keeps its own until another takes it."""
    previous = path.with_name(PREVIOUS_CHECKPOINT.name)
    if not path.is_file():
        return
    with replacing(previous) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(path, temporary)


@rank_zero_only
def _notice(message: str) -> None:
    log.warning(message)
