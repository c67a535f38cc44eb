"""`config.json` of a released model: read without PyTorch."""

import json
from pathlib import Path
from typing import Any

from egodepth.errors import UserError
from egodepth.files import read_text

CONFIG_FILE = "config.json"
CONFIG_FORMAT = 3

RELEASE_AGAIN = "Fetch or release the model again."


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a released model folder, without its tensors.

    Raises:
        UserError: it is missing or broken.
    """
    config_file = folder / CONFIG_FILE
    if not config_file.is_file():
        raise UserError(f"{folder}: no {CONFIG_FILE} in it. Give a released model folder or a run folder.")
    try:
        return json.loads(read_text(config_file))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{config_file}: not JSON ({error}). Release the model again.") from error
