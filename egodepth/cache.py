"""What may be kept between calls because it can be made again: one folder per user, which anyone may empty."""

import os
from pathlib import Path

VARIABLE = "EGODEPTH_CACHE"
"""Environment variable that names the folder; `none` keeps nothing."""


def cache_folder(name: str) -> Path | None:
    """A folder in the cache, made if it is missing; None where nothing is to be kept or nothing can be written.

    By default the cache is `egodepth` in the user's cache folder (`XDG_CACHE_HOME`, `~/.cache`).
    """
    given = os.environ.get(VARIABLE)
    if given == "none":
        return None
    root = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "egodepth"
    folder = root / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
