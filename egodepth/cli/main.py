"""The entry point: find the command, parse its arguments, run it, turn errors into one line and an exit code.

Exit codes: 0 done; 1 done, but some inputs were skipped; 2 the command line, the data or a file is at fault; 130 after
Ctrl-C, 143 after SIGTERM and 138 after SIGUSR1.
"""

import ast
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec

from egodepth.cli.ending import EndedBySignal, advice_on_resources, ended_by_signals
from egodepth.errors import Stopped, UserError, printable
from egodepth.processors import THREADS_VARIABLE, available_processors, machine_is_busy, working_threads
from egodepth.version import __version__

COMMANDS: dict[str, str] = {
    "demo": "egodepth.cli.demo:demo",
    "simulate": "egodepth.cli.simulate:simulate",
    "calibrate": "egodepth.cli.calibrate:calibrate",
    "teach": "egodepth.cli.teach:teach",
    "train": "egodepth.cli.train:train",
    "submit": "egodepth.cli.submit:submit",
    "evaluate": "egodepth.cli.evaluate:evaluate",
    "scale": "egodepth.cli.scale:scale",
    "predict": "egodepth.cli.predict:predict",
    "stream": "egodepth.cli.stream:stream",
    "fuse": "egodepth.cli.fuse:fuse",
    "view": "egodepth.cli.view:view",
    "serve": "egodepth.cli.serve:serve",
    "export": "egodepth.cli.predict:export",
    "benchmark": "egodepth.cli.predict:benchmark",
    "import": "egodepth.cli.models:import_model",
    "list": "egodepth.cli.models:list_recipes",
    "reproduce": "egodepth.cli.evaluate:reproduce",
    "data check": "egodepth.cli.data:check",
    "data pack": "egodepth.cli.data:pack",
    "prior build": "egodepth.cli.prior:build",
    "prior select": "egodepth.cli.prior:select",
    "prior cluster": "egodepth.cli.prior:cluster",
}
"""Each command's function, in its module: only the module of the command that runs is imported."""

GROUPS = {
    "data": "Check data, or pack it for faster training.",
    "prior": "Build, select and cluster the references of RPrDepth.",
}

DESCRIPTION = """Train, evaluate and use depth networks that learn from footage alone.

A first look, about seven minutes on two cores:  egodepth demo OUT"""

TRAINING_MODULES = (
    "cv2",
    "huggingface_hub",
    "lightning",
    "matplotlib",
    "onnx",
    "onnxscript",
    "safetensors",
    "tensorboard",
    "timm",
    "torch",
    "torchmetrics",
    "torchvision",
)
"""What a plain installation, which is for use alone, does not bring."""

MISSING = "needs what trains models, which is not installed (no {}): pip install 'egodepth[train]'."

HELP = ("-h", "--help", "--help-all")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; the exit codes are those of the module's docstring."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if hasattr(sys.stdout, "reconfigure"):  # a name need not be UTF-8, nor a terminal know all letters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with ended_by_signals():
            exit_code = _run(arguments)
    except UserError as error:
        if "--debug" in arguments:
            raise
        print(f"egodepth: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAINING_MODULES or "--debug" in arguments:
            raise
        command = " ".join(arguments[: 2 if arguments[0] in GROUPS else 1])
        print(f"egodepth {command}: {MISSING.format(error.name)}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stop:
        print(f"egodepth: {stop.message}", file=sys.stderr)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(130)
    except EndedBySignal as end:
        print(STOPPED, file=sys.stderr)
        sys.exit(128 + end.number)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except Exception as error:
        advice = advice_on_resources(error, next(iter(arguments), ""))
        if advice is None or "--debug" in arguments:
            raise
        print(f"egodepth: {advice}", file=sys.stderr)
        sys.exit(2)
    if exit_code:
        sys.exit(exit_code)


STOPPED = "egodepth: stopped. Every file that was written is complete."


def _run(arguments: list[str]) -> int | None:
    if not arguments:
        raise UserError("no command given. egodepth --help lists them.")
    first, rest = arguments[0], arguments[1:]
    if first == "--version":
        print(f"egodepth {__version__}")
        return None
    if first in HELP:
        _print_commands("egodepth", DESCRIPTION, [name for name in COMMANDS if " " not in name], GROUPS)
        return None
    name = first
    if first in GROUPS:
        members = [command for command in COMMANDS if command.startswith(f"{first} ")]
        if rest and rest[0] in HELP:
            _print_commands(f"egodepth {first}", GROUPS[first], members)
            return None
        name, rest = f"{first} {rest[0]}" if rest else first, rest[1:]
    if name not in COMMANDS:
        raise UserError(_unknown(name))
    from egodepth.cli.parsing import parse

    command = parse(command_function(name), rest, f"egodepth {name}")
    if command is None:
        return None
    _set_up_logging()
    # Both are read when PyTorch is imported, which knows nothing of a container's quota and of who else is at work.
    os.environ.setdefault(THREADS_VARIABLE, str(available_processors()))
    working_threads()  # OpenMP would say that it does not understand the variable, and take all processors
    if machine_is_busy():
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return command()


def command_function(name: str) -> Callable[..., int | None]:
    """The function of a command; its module, and no other command's, is imported."""
    module, function = COMMANDS[name].split(":")
    return getattr(import_module(module), function)


def first_line(name: str) -> str:
    """The first line of a command's docstring, read from its source: help imports none of the commands' modules."""
    module, function = COMMANDS[name].split(":")
    source = find_spec(module).loader.get_source(module)
    [node] = [each for each in ast.parse(source).body if getattr(each, "name", None) == function]
    return ast.get_docstring(node).splitlines()[0]


def _unknown(name: str) -> str:
    """What to say of a command that there is not."""
    group, _, word = name.partition(" ")
    if group in GROUPS:
        members = [command.removeprefix(f"{group} ") for command in COMMANDS if command.startswith(f"{group} ")]
        if not word:
            return f"{group}: no command given. Choose one of {', '.join(members)}."
        near = get_close_matches(word, members, n=1)
        choice = f"Did you mean {near[0]}?" if near else f"Choose one of {', '.join(members)}."
        return f"{group}: there is no command {word!r}. {choice}"
    if name.startswith("-"):
        return (
            f"{name}: give the command first, as in egodepth predict MODEL INPUT --out DIR. egodepth --help lists them."
        )
    near = get_close_matches(name, [*COMMANDS, *GROUPS], n=1)
    choice = f"Did you mean {near[0]}?" if near else "egodepth --help lists the commands."
    return f"there is no command {name!r}. {choice}"


def _print_commands(program: str, description: str, names: Sequence[str], groups: dict[str, str] | None = None) -> None:
    """The help of a level that has commands below it."""
    summaries = {name.split()[-1]: first_line(name) for name in names} | (groups or {})
    width = max(map(len, summaries))
    print(f"usage: {program} COMMAND [OPTIONS]\n\n{description}\n\ncommands:")
    for name, summary in summaries.items():
        print(f"  {name:{width}}  {summary}")
    print(f"\n{program} COMMAND --help says what a command takes.")
    if program == "egodepth":
        print("egodepth --version prints the version.")


def _set_up_logging() -> None:
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(console=Console(stderr=True), show_time=False, show_path=False)
    handler.addFilter(_printable_record)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    for chatty in ("httpx", "timm", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # ours is another, and is said in words


def _printable_record(record: logging.LogRecord) -> bool:
    """Names and text from files keep their control characters away from the terminal in logs, too."""
    record.msg, record.args = printable(record.getMessage()), ()
    return True


if __name__ == "__main__":
    main()
