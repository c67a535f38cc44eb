"""egodepth: fast, accurate depth from unlabelled footage."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "build", "load"]

if TYPE_CHECKING:
    from egodepth.recipes import build, load


def __getattr__(name: str) -> Any:
    # Imported when first asked for: half the modules below need the version, and PyTorch takes seconds to load.
    if name in ("build", "load"):
        from egodepth import recipes

        return getattr(recipes, name)
    raise AttributeError(f"module 'egodepth' has no attribute {name!r}")
