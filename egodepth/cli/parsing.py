"""Parsing: a command is a typed function, and its signature is its options, their help and their checks.

tyro reads the signature. What it refuses becomes one line, and what was misspelt is named with the nearest that exists.
"""

import functools
import inspect
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from difflib import get_close_matches
from typing import Any

import tyro
from tyro.conf import AvoidSubcommands

from egodepth.cli.recipes import print_recipes, print_short_help, takes_recipe, with_recipe
from egodepth.errors import UserError
from egodepth.recipes import RECIPES, recipe_named

Command = Callable[..., int | None]

CONFIG = (AvoidSubcommands,)

KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a text"}
"""tyro's short names of types, in words."""

HELP = ("-h", "--help")


def parse(command: Command, arguments: Sequence[str], program: str) -> Callable[[], int | None] | None:
    """A command with its arguments, ready to run; None where its help was asked for and printed.

    Raises:
        UserError: the arguments are not what the command takes; the message is one line.
    """
    arguments = list(arguments)
    if "words" in inspect.signature(command).parameters:
        arguments, words = _before_command(command, arguments)
        command = _with_words(command, words)
    asks_for_all = "--help-all" in arguments
    asks = asks_for_all or any(word in arguments for word in HELP)
    if takes_recipe(command):
        if not arguments or arguments[0].startswith("-"):
            if asks:
                print_recipes(command, program)
                return None
            raise UserError(f"{program.removeprefix('egodepth ')}: name the recipe first. {program} --help lists them.")
        name = arguments.pop(0)
        recipe = recipe_named(name)
        command, program = with_recipe(command, name, recipe), f"{program} {name}"
        if asks and not asks_for_all:
            print_short_help(command, recipe, program)
            return None
        ready = _parse(command, ["--help"] if asks else arguments, program)
        if ready is not None and not ready.keywords.get("resume"):  # a run goes on with the options that it has
            ready.keywords["recipe"].check_options(RECIPES[name])
        return ready
    return _parse(command, ["--help"] if asks else arguments, program)


def _before_command(command: Command, arguments: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """The options of a command that runs another one, and that other command's line."""
    parameters = inspect.signature(command).parameters.values()
    flags = {f"--{each.name}" for each in parameters if isinstance(each.default, bool)} | set(HELP)
    place = 0
    while place < len(arguments) and arguments[place].startswith("-"):
        place += 1 if "=" in arguments[place] or arguments[place] in flags else 2
    return arguments[:place], tuple(arguments[place:])


def _with_words(command: Command, words: tuple[str, ...]) -> Command:
    """A command that runs another one, with that other one's line settled."""
    settled = functools.update_wrapper(functools.partial(command, words), command)
    parameters = inspect.signature(command).parameters.values()
    settled.__signature__ = inspect.Signature([each for each in parameters if each.name != "words"])
    return settled


def _parse(command: Command, arguments: list[str], program: str) -> functools.partial | None:
    """The command and its arguments, by tyro."""

    @functools.wraps(command)
    def bound(*positional: Any, **named: Any) -> functools.partial:
        return functools.partial(command, *positional, **named)

    bound.__signature__ = inspect.signature(command)
    said = io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(redirect_stderr(said))
        stack.enter_context(_refusals(lambda event: _refuse(event, bound, arguments, program)))
        try:
            ready = tyro.cli(bound, prog=program, args=arguments, config=CONFIG)
        except SystemExit as stop:
            if not stop.code:
                return None
            # A refusal of a kind that is not known here: tyro's own words, without its box.
            words = " ".join(re.sub(r"[│╭╮╰╯─]+", " ", said.getvalue()).split())
            raise UserError(f"{words} See {program} --help.") from None
    given = inspect.signature(command).bind(*ready.args, **ready.keywords)
    return functools.partial(command, **given.arguments)


def _refusals(handle: Callable[[Any], None]) -> Any:
    """Tell `handle` of what tyro refuses, before it prints that."""
    try:
        from tyro import _errors
    except ImportError:  # it is not part of tyro's public face; without it the refusal is tyro's printed one
        return ExitStack()
    return _errors.on_parse_error(handle)


def _refuse(event: Any, command: Command, arguments: list[str], program: str) -> None:
    """Raise the one line for what tyro refuses; return where the kind is not known."""
    kind = type(event).__name__
    see = f"See {program} --help."
    if kind == "MissingArgs":
        if event.unrecognized_tokens:
            raise UserError(_unrecognised(event.unrecognized_tokens, command, arguments, program))
        missing = [_name(each.arg) for each in event.missing_arguments]
        if _takes_several(command) and (not arguments or arguments[0].startswith("-")):
            missing.insert(0, "DATA")
        listed = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        be = "is" if len(missing) == 1 else "are"
        raise UserError(f"{program.removeprefix('egodepth ')}: {listed} {be} missing. {see}")
    if kind == "UnrecognizedArgs":
        raise UserError(_unrecognised(event.tokens, command, arguments, program))
    if kind == "InvalidChoice":
        metavar = str(event.argument.lowered.metavar)
        choices = sorted((each for each in event.choices if each != "None"), key=metavar.find)
        near = get_close_matches(event.value, choices, n=1)
        choice = f"Did you mean {near[0]}?" if near else f"Choose one of {', '.join(choices)}."
        raise UserError(f"{_name(event.argument)} {event.value}: there is no such choice. {choice}")
    if kind == "BadValue":
        raise UserError(f"{_name(event.argument)}: its value is missing ({_kind(event.argument)}). {see}")
    if kind == "InstantiationFailure" and event.argument is not None:
        name = _name(event.argument)
        raise UserError(f"{name} {_value(event.argument, arguments)}: is not {_kind(event.argument)}. {see}")


def _takes_several(command: Command) -> bool:
    """Whether a command's first words are any number of DATA; none at all is then no mistake to tyro."""
    data = inspect.signature(command).parameters.get("data")
    return data is not None and "tuple" in str(data.annotation)


def _unrecognised(tokens: Sequence[str], command: Command, arguments: list[str], program: str) -> str:
    """What to say of words that no option or argument takes."""
    entries = _options(command, program)
    see = f"See {program} --help."
    for token in tokens:
        if token.startswith("-"):
            option = token.partition("=")[0]
            near = _near(option, entries)
            return f"{option}: there is no such option. " + (f"Did you mean {near}?" if near else see)
    position = arguments.index(tokens[0])
    before = next((word for word in reversed(arguments[:position]) if word.startswith("--")), None)
    if before in entries and "(repeatable)" in entries[before]:
        values = arguments[arguments.index(before) + 1 : position + len(tokens)]
        again = " ".join(f"{before} {value}" for value in values)
        return f"{before} takes one value at a time: repeat the option: {again}"
    return f"{' '.join(tokens)}: no option or argument takes this. {see}"


def _near(option: str, entries: dict[str, str]) -> str | None:
    """The existing option that a misspelt one most likely is; the last part of a dotted name counts by itself."""
    last_parts: dict[str, str] = {}
    for each in entries:
        last_parts.setdefault(each.rpartition(".")[2].removeprefix("--"), each)
    part = option.rpartition(".")[2].removeprefix("--")
    if part in last_parts:
        return last_parts[part]
    if whole := get_close_matches(option, entries, n=1, cutoff=0.7):
        return whole[0]
    near = get_close_matches(part, last_parts, n=1, cutoff=0.8)
    return last_parts[near[0]] if near else None


def _options(command: Command, program: str) -> dict[str, str]:
    """All options of a command, each with its part of the printed help."""
    text = io.StringIO()
    with redirect_stdout(text), _one_column():
        _parse(command, ["--help"], program)
    entries: dict[str, str] = {}
    names: list[str] = []
    for line in text.getvalue().splitlines():
        words = line.strip("│ ")  # the box is of other characters where the terminal does not take these
        if re.match(r"--?[a-z]", words):
            names = re.findall(r"--[a-z][\w.-]*", words)
            entries |= dict.fromkeys(names, "")
        for name in names:
            entries[name] += f" {words}"
    return entries


@contextmanager
def _one_column() -> Iterator[None]:
    """Print help as on a narrow terminal: on a wide one tyro puts two boxes side by side."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def _name(argument: Any) -> str:
    """What users call an argument: the longest of its options, or its place in the usage."""
    if argument.is_positional():
        return str(argument.lowered.metavar).strip("[]").split()[0]
    return max(argument.lowered.name_or_flags, key=len)


def _value(argument: Any, arguments: list[str]) -> str:
    """The words that were given for an argument."""
    name = _name(argument)
    for place, word in enumerate(arguments):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word.replace("_", "-") == name:
            following = arguments[place + 1 :]
            end = next((count for count, each in enumerate(following) if each.startswith("--")), len(following))
            return " ".join(following[:end])
    return ""


def _kind(argument: Any) -> str:
    """What an argument's value has to be."""
    metavar = str(argument.lowered.metavar)
    if metavar.startswith("{") and "," in metavar and "INT" not in metavar:
        return f"one of {', '.join(each for each in metavar.strip('{}').split(',') if each != 'None')}"
    return " or ".join(_words_for(each) for each in metavar.split("|") if each != "{None}")


def _words_for(metavar: str) -> str:
    """tyro's short name of a type in words: `INT`, `{INT INT}`, `[INT [INT ...]]`."""
    names = re.findall(r"\w+", metavar)
    if len(names) < 2 or len(set(names)) > 1:
        return KINDS.get(metavar, metavar)
    plural = KINDS.get(names[0], names[0]).partition(" ")[2] + "s"
    return f"a list of {plural}" if "..." in metavar else f"{len(names)} {plural}"
