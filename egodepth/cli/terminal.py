"""What all commands share: the terminal that they write to, and the option that shows tracebacks."""

import logging
from typing import Annotated

from rich.console import Console
from tyro.conf import FlagCreatePairsOff, arg

console = Console(highlight=False, soft_wrap=True)


def quiet_libraries() -> None:
    """Let libraries speak up from warnings on. Lightning sets its own level when it is imported: to be called then."""
    for chatty in ("lightning", "lightning.pytorch", "lightning.fabric", "httpx", "timm"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


Debug = Annotated[bool, FlagCreatePairsOff, arg(help="Show the traceback of an error.")]

Device = Annotated[str, arg(help="Where the network runs: cpu, cuda, cuda:1, mps.")]

Model = Annotated[str, arg(metavar="MODEL", help="Released model folder, run folder or hub id.")]
