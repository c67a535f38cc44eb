"""Looking at a model: `egodepth serve`."""

import signal
import threading
from typing import Annotated

from tyro.conf import Positional, arg

from egodepth.cli.terminal import Debug, Device, ModelOrStarter, console
from egodepth.recipes.recipe import STARTER
from egodepth.web.limits import WebLimits


def serve(
    model: Positional[ModelOrStarter] = STARTER,
    *,
    host: Annotated[
        str, arg(help="Address to listen at; 0.0.0.0 lets everybody on the network in, without a password.")
    ] = "127.0.0.1",
    port: Annotated[int, arg(help="Port to listen at; 0 takes one that is free.")] = 7860,
    limits: Annotated[WebLimits, arg(name="")] = WebLimits(),
    device: Device = "cpu",
    debug: Debug = False,
) -> None:
    """Serve a page on which a model is tried in the browser.

    Takes pictures and short videos; shows depth, distances and points, and gives them as files. Keeps nothing.
    """
    from egodepth.web.server import serve

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    console.print(f"Loading {model} …", markup=False)
    server = serve(model, device, host, port, limits)
    try:
        console.print(f"Open {server.url} in a browser; Ctrl-C ends it.", markup=False)
        stopped.wait()
    finally:
        server.close()
