"""What the documentation's site shows that is not a file of docs/, see mkdocs.yml.

Pages that live beside the code (the starter's card, the changelog, ...) become pages of the site, and links between
them and docs/, which are those of the repository, follow. Tables of recipes and commands are made from the code.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from egodepth.cli.main import COMMANDS, first_line
from egodepth.recipes import RECIPES
from egodepth.recipes.describing import describe
from egodepth.version import __version__

ROOT = Path(__file__).parents[1]

PAGES_ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "egodepth/starter/README.md": "starter.md",
    "integrations/ros2/README.md": "ros2.md",
}
"""From a file of the repository to the page of the site that shows it."""

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show the version at the foot of each page."""
    config.copyright = f"egodepth {__version__}, Apache License 2.0"
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/."""
    for source, page in PAGES_ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links of the repository into those of the site, and fill in the tables that are made from the code."""
    shown = page.file.src_uri
    source = next((file for file, name in PAGES_ELSEWHERE.items() if name == shown), f"docs/{shown}")
    markdown = LINK.sub(lambda link: _link(link[1], source, shown) + (link[2] or ""), markdown)
    if shown == "reference/recipes.md":
        markdown = markdown.replace("<!-- recipes -->", recipes_table())
    if shown == "reference/commands.md":
        markdown = markdown.replace("<!-- commands -->", commands_table())
    return markdown


def _link(target: str, source: str, shown: str) -> str:
    """Where a link of the repository's file `source` leads from the site's page `shown`."""
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    page = PAGES_ELSEWHERE.get(file, file.removeprefix("docs/"))
    return posixpath.relpath(page, posixpath.dirname(shown) or ".")


def recipes_table() -> str:
    """What `egodepth list` shows, as a table of Markdown."""
    lines = ["| recipe | parameters | MACs | size | trains from | source |", "|---|---|---|---|---|---|"]
    for recipe in map(describe, RECIPES):
        lines.append(
            f"| `{recipe.name}` | {recipe.parameters / 1e6:.2f} M | {recipe.macs / 1e9:.2f} G "
            f"| {recipe.width}x{recipe.height} | {', '.join(recipe.modes)} | {recipe.source} |"
        )
    return "\n".join(lines)


def commands_table() -> str:
    """The commands with the first line of their help, as a table of Markdown."""
    lines = ["| command | what it does |", "|---|---|"]
    lines += [f"| `egodepth {command}` | {first_line(command)} |" for command in COMMANDS]
    return "\n".join(lines)
