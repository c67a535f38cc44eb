"""What all commands share: the terminal that they write to, and the option that shows tracebacks."""

from typing import Annotated

from rich.console import Console
from tyro.conf import arg

console = Console(highlight=False, soft_wrap=True)

Debug = Annotated[bool, arg(help="Show the traceback of an error.")]
