"""The examples of README.md and docs/ run as they stand. One marked `python no-run` is only compiled."""

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
    script = tmp_path / f"{page.stem}.py"
    script.write_text("\n" * (line - 1) + source, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, f"{page.name}, example in line {line}:\n{result.stdout}{result.stderr}"
