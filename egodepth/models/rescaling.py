"""Another scale for a released model: its config alone changes."""

import json
import shutil
from pathlib import Path

from egodepth.errors import UserError
from egodepth.files import replacing, write_text
from egodepth.geometry.scale import Scale
from egodepth.models.folder import ModelFolder, scale_entries
from egodepth.networks.model_config import CONFIG_FILE


def write_scale(model: ModelFolder, scale: Scale, out: Path | None = None, focal: float | None = None) -> Path:
    """Write a scale into a model's config, whole or not at all; everything else in it stays.

    Args:
        focal: focal length, in widths of the picture, of the camera that the scale belongs to; None leaves it as it is.
        out: a copy of the model that is written with the scale in place of the model itself.

    Returns:
        the folder of the model that has the scale.

    Raises:
        UserError: the starter or a model of the hub is to be changed in place, or the place cannot be written to.
    """
    camera = {} if focal is None else {"focal": focal}
    config = json.dumps({**model.config, **scale_entries(scale), **camera}, indent=2) + "\n"
    if out is None:
        if not Path(model.name).exists():
            raise UserError(
                f"{model.name}: is no folder of yours, but a starter or a model of the hub. Give --out for a copy."
            )
        write_text(model.folder / CONFIG_FILE, config)
        return model.folder
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists and is not an empty folder. Name a new folder.")
    with replacing(out) as folder:
        folder.mkdir()
        for file in model.folder.iterdir():
            if file.name != CONFIG_FILE and file.is_file():
                shutil.copyfile(file, folder / file.name)
        (folder / CONFIG_FILE).write_text(config, encoding="utf-8")
    return out
