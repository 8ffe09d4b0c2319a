"""What a terminal shows when a command has ended, and the picture of it that the README has.

`python -m tests.support.terminal` runs the demo and draws docs/images/demo.svg anew.
"""

from __future__ import annotations

import inspect
import io
import re
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.text import Text

from tests.support.command import run_on_terminal
from worker.demo.parts import ENVIRONMENT_NAME, Parts

DEMO = Path(__file__).parents[2] / "docs" / "images" / "demo.svg"
COMMAND = "$ make demo"  # which does nothing else, once the virtual environment is there
_WIDTH = 100
_MOVE = re.compile(r"(\r\n|\r|\x1b\[\d*A|\x1b\[2K|\x1b\[\?25[lh])")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_TEXT = "{http://www.w3.org/2000/svg}text"
# The font is not fetched from anybody: a browser's own will do.
_FORMAT = re.sub(
    r"@font-face \{\{.*?\}\}\n",
    "",
    inspect.signature(Console.export_svg).parameters["code_format"].default,
    flags=re.DOTALL,
)


def demo(folder: Path, parts: Parts) -> str:
    """All that the demo writes to a terminal, with parts that run already; its results are left in `folder`."""
    ended = run_on_terminal(["demo"], {ENVIRONMENT_NAME: parts.to_json()}, folder)
    assert ended.exit_code == 0, ended.stderr
    return ended.stderr


def screen(written: str) -> list[str]:
    """The lines that stay, their colours with them; of movements those that progress bars make."""
    lines, row = [""], 0
    for part in _MOVE.split(written):
        if part == "\r\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("A"):
            row -= int(part[2:-1] or 1)
        elif part in {"\r", "\x1b[2K"}:
            lines[row] = lines[row] if part == "\r" else ""
        elif not part.startswith("\x1b[?"):
            lines[row] += part
    while lines[-1:] == [""]:
        lines.pop()
    return lines


def draw(lines: list[str], title: str) -> str:
    """The picture, as SVG."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    return console.export_svg(title=title, code_format=_FORMAT, unique_id="demo")


def words(picture: str) -> list[str]:
    """The lines that a picture shows, from the top, with their title first."""
    rows: dict[float, str] = {}
    for text in ET.fromstring(picture).iter(_TEXT):  # noqa: S314 -- of this repository
        height = float(text.get("y", 0))
        rows[height] = rows.get(height, "") + "".join(text.itertext()).replace("\xa0", " ")
    return [rows[height].rstrip() for height in sorted(rows)]


def plain(lines: list[str]) -> list[str]:
    """Without colours, and with each number as 0: sizes and times differ from run to run."""
    return [re.sub(r"\d+(\.\d+)?", "0", _COLOUR.sub("", line)) for line in lines]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as results:
        shown = screen(demo(Path(results), Parts.from_environment()))
    DEMO.write_text(draw([COMMAND, *shown], "codalab-worker"), encoding="utf-8")
