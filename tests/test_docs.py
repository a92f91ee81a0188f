"""The examples of README.md and docs/ run as they stand. One marked `python no-run` is only compiled."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python( no-run)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield pytest.param(page, line + 1, found[2], not found[1], id=f"{page.stem}-line{line}")


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index


@pytest.mark.parametrize(("page", "line", "source", "runs"), list(examples()))
def test_example_runs(page, line, source, runs, tmp_path):
    compile(source, f"{page.name}, example", "exec")
    if not runs:
        return
    # Blank lines before it: a traceback then names the line of the page.
    script = tmp_path / f"example_in_{page.stem}.py"  # the page may have the name of a module
    script.write_text("\n" * (line - 1) + source, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, f"{page.name}, example in line {line}:\n{result.stdout}{result.stderr}"


def rows(page, section):
    """The rows of the tables in a section, keyed by their first cell, without backquotes."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    text = text[text.index(f"\n{section}\n") :]
    text = text[: re.search(r"\n#+ ", text[5:]).start() + 5]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    lines = [[cell.strip() for cell in line] for line in lines]
    return {cells[0].replace("`", ""): [cell.replace("`", "") for cell in cells[1:]] for cells in lines}


def test_every_limit_is_there_with_its_default():
    pytest.importorskip("httptools")
    from gevlite.pywsgi import Limits

    found = rows("wsgi.md", "## Limits")
    del found["Limits(...)"]
    for field in dataclasses.fields(Limits):
        said = found.pop(field.name)[0]
        assert said == ("1 GiB" if field.default == 1 << 30 else str(field.default)), field.name
    assert not found


def test_every_option_of_serve_is_there_with_its_default():
    pytest.importorskip("httptools")
    from gevlite.pywsgi import Limits
    from gevlite.serve import Server, _command

    found = {
        name: cells[0]
        for names, cells in rows("deploying.md", "## gevlite serve").items()
        for name in names.split(", ")
    }
    options = {string for action in _command._parser()._actions for string in action.option_strings if string[1] == "-"}
    options -= {"--help"} | {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Limits)}
    assert options <= set(found)
    settings = Server("a:b").settings
    for option in options:
        value = getattr(settings, option[2:].replace("-", "_"))
        if type(value) is int and option not in ("--workers", "--max-requests-jitter"):
            assert found[option] == str(value), option
        elif value is False:
            assert found[option] == "off", option
