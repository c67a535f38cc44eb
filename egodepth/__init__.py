"""egodepth: fast, accurate depth from unlabelled footage."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from egodepth.version import __version__

__all__ = ["Camera", "__version__", "build", "complexity", "load"]

if TYPE_CHECKING:
    from egodepth.geometry.cameras import Camera
    from egodepth.models.opening import load
    from egodepth.networks.complexity import complexity
    from egodepth.recipes import build


HOMES = {
    "Camera": "egodepth.geometry.cameras",
    "build": "egodepth.recipes",
    "complexity": "egodepth.networks.complexity",
    "load": "egodepth.models.opening",
}


def __getattr__(name: str) -> Any:
    # Imported when first asked for: PyTorch takes seconds to load.
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module 'egodepth' has no attribute {name!r}")
