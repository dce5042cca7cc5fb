"""What the README and docs/ tell to type: each edgewright line parses against the command line, each name exists."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from edgewright import devices
from edgewright.cli import app
from edgewright.compress import shipped_recipes

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Where such a parameter stands, a name has to be shipped, a .toml file, or a device that the same page adds.
_NAMED = ("profile", "recipe", "device")


@dataclass(frozen=True)
class Line:
    """One command of a page; placeholders such as MODEL are taken as they are."""

    page: str
    number: int
    text: str

    @property
    def where(self) -> str:
        """Return its file and line."""
        return f"{self.page}:{self.number}"


def commands(page: str, text: str) -> list[Line]:
    """Return the edgewright commands in a page's blocks, fenced or indented by four; continued lines are joined."""
    found: list[Line] = []
    fence, joined, begun = "", "", 0
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
            continue
        if not fence and not line.startswith("    "):
            joined = ""
            continue
        begun = begun if joined else number
        joined += line.strip().removeprefix("$ ")
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        if joined.startswith("edgewright "):
            found.append(Line(page, begun, joined))
        joined = ""
    return found


def parsed(line: Line) -> dict[str, object]:
    """Return the parameters of a command; nothing is run.

    Raises:
        AssertionError: there is no such command or option, or an argument lacks or is of another type.
    """
    words = shlex.split(line.text, comments=True)[1:]
    for mark in (">", "|", "&&", ";"):
        words = words[: words.index(mark)] if mark in words else words
    command, context, name = typer.main.get_command(app), None, "edgewright"
    try:
        while True:
            context = command.make_context(name, words, parent=context)
            words = [*context._protected_args, *context.args] if hasattr(command, "resolve_command") else []
            if not words:
                return context.params
            name, command, words = command.resolve_command(context, words)
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's own, which newer versions of typer bring themselves
            raise
        raise AssertionError(f"{line.where}: {line.text}\n{error.format_message()}") from None


def _all() -> list[Line]:
    return [line for page in PAGES for line in commands(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("line", [pytest.param(line, id=line.where) for line in _all()])
def test_each_command_that_is_told_to_be_typed_parses(line):
    """Commands, options and arguments of the pages are those that there are, and profiles and recipes exist."""
    parameters = parsed(line)
    text = (ROOT / line.page).read_text(encoding="utf-8")
    added = re.findall(r"edgewright devices add (\S+)", text)
    known = {*devices.names(), *shipped_recipes(), *added}
    for each in _NAMED:
        values = parameters.get(each) or ()
        for value in [values] if isinstance(values, str) else values:
            assert value in known or str(value).endswith(".toml"), f"{line.where}: --{each} {value}"


def test_the_readme_and_each_page_of_a_board_tell_commands():
    """The lines are found: dozens in the README, and some on each page of a board."""
    counts = {page: sum(line.page == str(page.relative_to(ROOT)) for line in _all()) for page in PAGES}
    assert counts[ROOT / "README.md"] > 20
    assert all(counts[page] > 2 for page in (ROOT / "docs" / "boards").glob("[!i]*.md"))


@pytest.mark.parametrize(
    ("number", "text", "told"),
    [
        (2, "```sh\nedgewright deploy bundle\n```", "NAME"),
        (3, "```sh\n# first\nedgewright deplyo bundle pi\n```", "deplyo"),
        (2, "Do:\n    edgewright validate bundle \\\n        --max-latency 5\n", "--max-latency"),
        (1, "    $ edgewright validate bundle --max-drop much | less", "--max-drop"),
        (2, "~~~\nedgewright devices ad pi ssh://pi@pi --profile raspberry-pi-5\n~~~", "'ad'"),
    ],
)
def test_a_line_that_would_not_run_fails_with_its_file_and_number(number, text, told):
    """Unknown commands and options, lacking arguments and wrong values are told, continued lines by their first."""
    (line,) = commands("page.md", text)
    with pytest.raises(AssertionError) as failed:
        parsed(line)
    first, _, rest = str(failed.value).partition("\n")
    assert first.startswith(f"page.md:{number}: edgewright ") and told in rest


def test_prose_and_other_programs_are_no_commands():
    """A sentence that begins with edgewright, a shell's own line and what a command printed are left alone."""
    text = "edgewright deploy sends it.\n\n```sh\nssh pi@pi edgewright\n```\n\n    edgewrights\n"
    assert commands("page.md", text) == []


def test_the_index_of_the_boards_has_a_page_for_each_profile():
    """Each shipped profile stands in the index, in a line that links to a page that is there and names it."""
    folder = ROOT / "docs" / "boards"
    rows = [line for line in (folder / "index.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    for name in devices.names():
        (row,) = [line for line in rows if f"`{name}`" in line]
        page = re.search(r"\]\(([a-z-]+\.md)\)", row)
        assert page and f"--profile {name}" in (folder / page[1]).read_text(encoding="utf-8"), name
