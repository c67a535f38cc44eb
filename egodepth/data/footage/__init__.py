"""Plain footage: video files and folders of frames."""

from typing import Any

__all__ = ["footage_camera"]


def __getattr__(name: str) -> Any:
    """The camera of footage, imported when it is asked for: reading videos needs no PyTorch."""
    if name == "footage_camera":
        from egodepth.data.footage.camera import footage_camera

        return footage_camera
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
