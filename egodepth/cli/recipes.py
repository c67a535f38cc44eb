"""Commands on a recipe: its name comes first, and its settings are the options that follow, with its own defaults."""

import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import field, fields, make_dataclass, replace
from functools import partial, update_wrapper
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro
from tyro.conf import arg

from egodepth.errors import UserError
from egodepth.recipes import RECIPES, Recipe

FRAMES = ("mode", "height", "width", "intrinsics", "fov", "data.split")
"""The usual settings that say which frames are read, and how."""

USUAL = {
    "train": (
        *FRAMES,
        "training.steps",
        "training.batch_size",
        "training.devices",
        "pretrained",
        "start_from",
        "teacher",
        "teacher_depth",
        "prior",
        "all",
    ),
    "pack": (*FRAMES, "data.stride", "teacher", "prior"),
}
"""The settings that most people need of each command, where a recipe has them; `--help-all` shows the others."""

UNUSUAL = frozenset({"camera_height", "speed", "poses"})
"""Options of commands that their description names, so that the first help does without them."""


def takes_recipe(command: Callable) -> bool:
    """Whether a command has a recipe's settings among its parameters."""
    recipe = inspect.signature(command).parameters.get("recipe")
    return recipe is not None and getattr(recipe.annotation, "__origin__", None) is Recipe


def several(data: Sequence[Path], recipe: Recipe) -> tuple[Path, Recipe]:
    """The first DATA, and the recipe with the others beside it; for packs in a store, the folders that stand for them.

    Raises:
        UserError: there is none, or an address cannot be reached.
    """
    if not data:
        raise UserError("DATA is missing: give a video, a folder of frames, or a data set.")
    from egodepth.data.packs.remote import is_address, stand_in

    first, *beside = (stand_in(each) if is_address(each) else each for each in data)
    also = tuple(stand_in(each) if is_address(each) else each for each in recipe.data.also)
    return first, replace(recipe, data=replace(recipe.data, beside=tuple(beside), also=also))


def with_recipe(command: Callable, name: str, recipe: Recipe) -> Callable:
    """A command of one recipe: `name` is settled, and `recipe` has its values as defaults."""
    settled = update_wrapper(partial(command, name), command)
    parameters = inspect.signature(command).parameters
    kept = [
        each.replace(default=recipe) if each.name == "recipe" else each
        for each in parameters.values()
        if each.name != "name"
    ]
    settled.__signature__ = inspect.Signature(kept)
    return settled


def print_recipes(command: Callable, program: str) -> None:
    """The first screen: what the command does, the recipes, an example."""
    sources: dict[str, list[str]] = {}
    for name, recipe in RECIPES.items():
        sources.setdefault(recipe.source, []).append(name)
    print(f"usage: {program} RECIPE DATA --out {_out(command)} [OPTIONS]\n")
    print(f"{inspect.getdoc(command)}\n\nrecipes:")
    for names in sources.values():
        print(
            textwrap.fill(", ".join(names), 100, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        )
    print(f"\nexample: {example(program, 'monodepth2', RECIPES['monodepth2'], command)}")
    print(f"\n{program} RECIPE --help shows the usual options of a recipe, --help-all shows every one.")
    print("egodepth list shows what each recipe's network costs.")


def print_short_help(command: Callable, recipe: Recipe, program: str) -> None:
    """A recipe's usual options, printed by tyro as it prints all of them."""
    name = program.split()[-1]
    usual = _usual(recipe, USUAL[command.__name__])

    def short(**_: Any) -> None: ...

    parameters = [each for each in inspect.signature(command).parameters.values() if each.name not in UNUSUAL]
    short.__signature__ = inspect.Signature(
        [
            each.replace(annotation=Annotated[usual, arg(name="")], default=usual()) if each.name == "recipe" else each
            for each in parameters
        ]
    )
    short.__annotations__ = get_type_hints(command, include_extras=True) | {"recipe": Annotated[usual, arg(name="")]}
    description = "\n\n".join(
        [
            inspect.getdoc(command),
            f"Recipe {name}: {recipe.source}.",
            f"Example: {example(program, name, recipe, command)}",
            "These are the usual options; --help-all shows every one.",
        ]
    )
    tyro.cli(short, prog=program, description=description, args=["--help"])


def example(program: str, name: str, recipe: Recipe, command: Callable) -> str:
    """A command line that a user can start from."""
    packs = _out(command) == "PACK"
    needed = ""
    if hasattr(recipe, "prior"):
        needed = " --teacher MODEL --prior FILE" if packs else " --all"
    elif getattr(recipe, "teacher", None) is tyro.MISSING:
        needed = " --teacher MODEL"
    return f"{program.removesuffix(f' {name}')} {name} DATA --out {'packs' if packs else 'runs'}/first{needed}"


def _out(command: Callable) -> str:
    """The metavar of `--out`."""
    [config] = inspect.signature(command).parameters["out"].annotation.__metadata__
    return config.metavar


def _usual(recipe: Recipe, paths: Sequence[str]) -> type:
    """A dataclass of those of `paths` that a recipe has as settings, with their types, defaults and help."""
    parts, documented = [], [*type(recipe).__mro__, type(recipe.training), type(recipe.data)]
    for path in paths:
        *owners, name = path.split(".")
        owner = recipe
        for part in owners:
            owner = getattr(owner, part)
        if name not in {each.name for each in fields(owner)}:
            continue
        kind = get_type_hints(type(owner), include_extras=True)[name]
        if owners == ["data"]:
            kind = Annotated[kind, arg(name=path)]
        parts.append((name, kind, field(default=getattr(owner, name))))
    attributes = [
        inspect.cleandoc(kind.__doc__).partition("Attributes:")[2] for kind in documented if kind is not object
    ]
    namespace = {"__doc__": "Usual settings.\n\nAttributes:" + "".join(attributes), "__module__": __name__}
    return make_dataclass("Usual", parts, namespace=namespace, kw_only=True, frozen=True)
