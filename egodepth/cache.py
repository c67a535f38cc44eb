"""What may be kept between calls because it can be made again: one folder per user, which anyone may empty."""

import errno
import logging
import os
from functools import cache
from pathlib import Path

log = logging.getLogger("egodepth")

VARIABLE = "EGODEPTH_CACHE"
"""Environment variable that names the folder; `none` keeps nothing."""


def cache_folder(name: str) -> Path | None:
    """A folder in the cache, made if it is missing; None where nothing is to be kept or nothing can be written.

    By default the cache is `egodepth` in the user's cache folder (`XDG_CACHE_HOME`, `~/.cache`). A folder that somebody
    named and that cannot be written to is said once.
    """
    given = os.environ.get(VARIABLE)
    if given == "none":
        return None
    try:
        folder = (Path(given) if given else _usual_root()) / name
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
        reason = os.strerror(errno.EACCES)
    except (OSError, RuntimeError) as error:  # no home, for whoever has no account
        reason = getattr(error, "strerror", None) or str(error)
    if given:
        _say_once(f"{VARIABLE}={given}: cannot be written ({reason}), so that nothing is kept. Name another folder.")
    return None


def _usual_root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "egodepth"


@cache
def _say_once(message: str) -> None:
    log.warning("%s", message)
