"""Released models as folders on the disk, and what their config says: read without PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from egodepth.errors import UserError
from egodepth.geometry.scale import Origin, Scale
from egodepth.inference.predictor import ModelFacts
from egodepth.networks.configurations import offsets_to
from egodepth.networks.model_config import CONFIG_FILE, CONFIG_FORMAT, read_config
from egodepth.recipes.recipe import LARGE_STARTER, STARTER
from egodepth.recipes.restoring import restored_network

MODEL_FOLDER = "model"
RUN_FILE = "run.json"
LAST_STAGE = "stage2"
"""The run that is the result, in the folder of `egodepth train rprdepth --all`."""

STARTER_FOLDER, LARGE_STARTER_FOLDER = (Path(__file__).parents[1] / name for name in (STARTER, LARGE_STARTER))


@dataclass(frozen=True)
class ModelFolder:
    """A model folder, opened: its config is read once, whatever is asked of it.

    Attributes:
        name: what the user called it, for messages.
        folder: that holds the files.
        config: of `config.json`.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def open(cls, model: str | Path) -> Self:
        """Open a released model folder, a run folder, a starter, or a model of the Hugging Face hub by its id.

        Raises:
            UserError: there is no such model, or its config is broken or from another egodepth.
        """
        folder = model_folder(model)
        config = read_config(folder)
        if config.get("format") != CONFIG_FORMAT:
            raise UserError(
                f"{model}: its config has format {config.get('format')}, not {CONFIG_FORMAT}. "
                "Read it with the egodepth that wrote it."
            )
        return cls(str(model), folder, config)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at which its networks see a picture."""
        return self.config["height"], self.config["width"]

    @property
    def metres_from(self) -> Origin | None:
        """How the depth got its metres; None where it is up to scale."""
        return self.config["metres_from"]

    @property
    def scale(self) -> Scale | None:
        """What its unit of depth means; None where depth is up to scale, or nobody said how it is known."""
        if self.metres_from is None:
            return None
        error, note = self.config.get("metres_error"), self.config.get("metres_note")
        return Scale(self.config["metres_per_unit"], self.metres_from, self._metres_of_width, error, note)

    @property
    def facts(self) -> ModelFacts:
        """What a predictor needs to know."""
        return ModelFacts(
            *self.size,
            metres_per_unit=self.config["metres_per_unit"],
            metres_of_width=self._metres_of_width,
            focal=self.config.get("focal"),
            keeps_aspect=self.config.get("keep_aspect", False),
            time_offsets=self._time_offsets,
            recipe=self.config["recipe"],
        )

    @property
    def _time_offsets(self) -> tuple[int, ...]:
        """The frames that the network looks at beside the current one."""
        if not restored_network(self.config["network"], self.folder / CONFIG_FILE).multi_frame:
            return ()
        return offsets_to(self.config["lookups"])

    @property
    def _metres_of_width(self) -> dict[int, float]:
        return {int(width): metres for width, metres in self.config.get("metres_of_width", {}).items()}


def scale_entries(scale: Scale | None) -> dict[str, Any]:
    """What a config says of the scale; None where depth is up to scale."""
    known = scale is not None
    return {
        "metres_per_unit": scale.metres_per_unit if known else None,
        "metres_of_width": {str(width): value for width, value in scale.of_width.items()} if known else {},
        "metres_from": scale.origin if known else None,
        "metres_error": scale.error if known else None,
        "metres_note": scale.note if known else None,
        "depth": "metres" if known else "up to scale",
    }


def model_folder(model: str | Path) -> Path:
    """Where the files of a model are; a hub id is fetched. Of a folder with RPrDepth's runs the last stage counts.

    Raises:
        UserError: there is no such folder and no such id, or a run has not released a model yet.
    """
    path, starters = Path(model), {STARTER: STARTER_FOLDER, LARGE_STARTER: LARGE_STARTER_FOLDER}
    if str(model) in starters and not path.exists():
        return starters[str(model)]
    if (path / CONFIG_FILE).is_file():
        return path
    if (path / MODEL_FOLDER / CONFIG_FILE).is_file():
        return path / MODEL_FOLDER
    if (path / RUN_FILE).is_file():
        raise UserError(f"{path}: this run has not written a model yet. Let it train on with --resume.")
    if (path / LAST_STAGE).is_dir():
        return model_folder(path / LAST_STAGE)
    if path.exists():
        runs = sorted(file.parent.name for file in path.glob(f"*/{RUN_FILE}"))
        held = f"; it holds the runs {', '.join(runs)}, give one of these" if runs else ""
        raise UserError(f"{path}: no {CONFIG_FILE} in it. Give a released model folder or a run folder{held}.")
    return _hub_folder(str(model))


def _hub_folder(name: str) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"{name}: no such folder. Give a released model folder, a run folder or a hub id (owner/name).")
    return fetched_from_hub(name, name, ("config.json", "model.*"))


def fetched_from_hub(name: str, called: str, patterns: Sequence[str]) -> Path:
    """Where files of a model of the Hugging Face hub lie, fetched if they were not there.

    Args:
        called: how the user named it, for messages.

    Raises:
        UserError: there is no such model, or the hub is out of reach.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's client raises many unrelated types; to the user they mean the same
        raise UserError(
            f"{called}: neither a folder here nor a model that the hub gave ({type(error).__name__}). Check the name."
        ) from error
