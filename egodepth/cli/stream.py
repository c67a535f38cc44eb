"""`egodepth stream`."""

import logging
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from egodepth.cli.ending import EndedBySignal
from egodepth.cli.terminal import Debug, Device, FieldOfView, Steadily
from egodepth.data.configurations import given_intrinsics
from egodepth.errors import UserError
from egodepth.inference.configurations import RawFormat, RuntimeName

if TYPE_CHECKING:
    from egodepth.inference.stream import StreamStatus

STATUS_S, QUIET_STATUS_S = 1.0, 30.0
"""Seconds between two lines of status: on a terminal, where each replaces the one before, and in a log."""


def stream(
    model: Annotated[
        Positional[str], arg(metavar="MODEL", help="Model folder, exported model, run folder, hub id, or starter.")
    ],
    source: Annotated[
        Positional[str],
        arg(
            metavar="SOURCE",
            help="Number of a camera; address (rtsp, http); - for JPEG pictures or raw frames on standard input; or a "
            "video, played in real time.",
        ),
    ],
    *,
    to: Annotated[
        str,
        arg(
            metavar="window|-|FILE.mp4|DIR",
            help="A window; raw frames on standard output; a video of picture and depth; or a folder of 16-bit PNG.",
        ),
    ] = "window",
    format: Annotated[
        RawFormat, arg(help="Raw frames on standard output: RGB colours, or 16-bit little-endian metres x 256.")
    ] = "color",
    raw: Annotated[
        str | None, arg(metavar="WIDTHxHEIGHT", help="Standard input holds raw RGB frames of this size.")
    ] = None,
    intrinsics: Annotated[
        str | None, arg(metavar="FILE|fx,fy,cx,cy", help="The camera, by which metres are right for it.")
    ] = None,
    fov: FieldOfView = None,
    steady: Steadily = False,
    frames: Annotated[int | None, arg(help="End after so many frames.")] = None,
    device: Device = "cpu",
    runtime: Annotated[RuntimeName | None, arg(help="Engine; by default the fastest that is installed.")] = None,
    debug: Debug = False,
) -> None:
    """Predict depth live: the newest frame of a camera or stream, again and again, until it ends or Ctrl-C."""
    from egodepth.inference import live, stream
    from egodepth.inference.input_cameras import stream_camera
    from egodepth.models.opening import open_for_use

    if frames is not None and frames < 1:
        raise UserError(f"--frames {frames}: must be 1 or more.")
    camera_of = stream_camera(given_intrinsics(fov, intrinsics))
    opened = live.open_source(source, _size_of(raw))
    predictor = open_for_use(model, device, runtime).predictor
    shown = _Status()
    with stream.open_output(to, predictor, format, sys.stdout.buffer) as output:
        try:
            with opened:
                stream.stream(predictor, opened, output, camera_of, steady, frames, shown)
        except (KeyboardInterrupt, EndedBySignal):  # how a stream without end is ended: what is written is whole
            logging.getLogger("egodepth").info("Stopped.")
        if shown.last is None:
            raise UserError(f"{opened.name}: gave no frame. Check the source.")
    shown.console.print(shown.last.said(), markup=False)


class _Status:
    """Says how the stream goes, on standard error: standard output may be the stream itself."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.last: StreamStatus | None = None
        self._said = time.monotonic()

    def __call__(self, status: "StreamStatus") -> None:
        self.last = status
        live = self.console.is_terminal
        if time.monotonic() - self._said < (STATUS_S if live else QUIET_STATUS_S):
            return
        self._said = time.monotonic()
        self.console.print(status.said(), end="\r" if live else "\n", markup=False)


def _size_of(raw: str | None) -> tuple[int, int] | None:
    """Height and width."""
    if raw is None:
        return None
    if not (found := re.fullmatch(r"(\d{1,5})x(\d{1,5})", raw)):
        raise UserError(f"--raw {raw}: give WIDTHxHEIGHT, as 640x480.")
    return int(found[2]), int(found[1])
