"""The examples of README.md and docs/ run as they stand. One marked `python no-run` is only compiled.

One marked `python needs-postgres`, or with another key of SERVERS, gets that server; its environment says where to find
the server. An example is skipped where a package that it imports, or its server, is not installed.

The block `output` after an example has its output; `is_as_shown` defines how exactly. `python tests/test_docs.py
[PAGE]...` writes those blocks.
"""

import ast
import contextlib
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import real_servers

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"^```python(?P<no_run> no-run)?(?: needs-(?P<needs>\w+))?\n(?P<source>.*?)^```$"
    r"(?:\n\n```output\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)

SERVERS = {  # the function that starts one, and how an example finds it
    "postgres": (
        real_servers.postgres,
        lambda port: {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "tester", "PGDATABASE": "postgres"},
    ),
    "redis": (real_servers.redis_server, lambda port: {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}),
    "mongodb": (real_servers.mongodb, lambda port: {"MONGODB_URL": f"mongodb://127.0.0.1:{port}"}),
    "mariadb": (real_servers.mariadb, lambda port: {"MYSQL_TCP_PORT": port}),
}


class Servers(contextlib.ExitStack):
    """Starts each when the first example needs it; at the end all are stopped."""

    def __init__(self):
        super().__init__()
        self.started = {}
        self.folder = None

    def environment(self, name):
        if name is None:
            return {}
        start, environment = SERVERS[name]
        if name not in self.started:
            if self.folder is None:
                self.folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="gevlite-docs-")))
                self.folder.chmod(0o755)  # servers that give up root must be able to enter it
            self.started[name] = self.enter_context(start(self.folder))
        return environment(str(self.started[name].port))


@pytest.fixture(scope="module", name="servers")
def servers_fixture():
    with Servers() as servers:
        yield servers


def missing(source):
    """A package that the example imports and that is not installed here, or None."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        for name in names:
            package = name.partition(".")[0]
            if package != "gevent" and importlib.util.find_spec(package) is None:  # as_gevent takes its place
                return package
    return None


def examples():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield pytest.param(page, line + 1, found, id=f"{page.stem}-line{line}")


def run(page, line, source, folder, environment):
    # Blank lines before it: a traceback then names the line of the page.
    script = folder / f"example_in_{page.stem}.py"  # the page may have the name of a module
    script.write_text("\n" * (line - 1) + source, encoding="utf-8")
    return subprocess.run(
        [sys.executable, script],
        cwd=folder,
        # An example may be a test: with pytest alone, and no options for this run of the suite. Without time slices,
        # unless it turns them on: what it shows is the order of a program in which nothing runs between two waits.
        env={
            **os.environ,
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "GEVLITE_TIME_SLICE": "",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )


ANYTHING = re.compile(r"\.\.\.|0x[0-9a-f]+|[0-9.]+(?= s\b)")


def is_as_shown(printed, shown):
    """`...` stands for anything; addresses, and times in seconds, may differ; a long path may wrap a line."""
    pattern = ".*?".join(map(re.escape, ANYTHING.split((shown or "").rstrip())))
    pattern = re.sub(r"(?<=\S)\\ (?=\S)", r"\\s+", pattern)
    return re.fullmatch(pattern, printed.rstrip(), re.DOTALL) is not None


def write_outputs(names):
    """Put the output of examples into the pages; output that still matches is kept."""
    with Servers() as servers:
        for page in sorted((ROOT / "docs").glob("*.md")):
            if not names or page.name in names:
                write_outputs_of(page, servers)


def write_outputs_of(page, servers):
    text = page.read_text(encoding="utf-8")
    for found in reversed(list(BLOCK.finditer(text))):
        if found["no_run"]:
            continue
        line = text.count("\n", 0, found.start()) + 2
        with tempfile.TemporaryDirectory() as folder:
            done = run(page, line, found["source"], Path(folder), servers.environment(found["needs"]))
        if done.returncode != 0:
            print(done.stderr, f"{page.name}, example in line {line}: status {done.returncode}", sep="\n")
        elif not is_as_shown(done.stdout, found["output"]):
            shown = f"\n\n```output\n{done.stdout.rstrip()}\n```" if done.stdout.strip() else ""
            text = text[: found.end("source")] + "```" + shown + text[found.end() :]
            print(f"{page.name}: {found['source'].splitlines()[-1]}")
    page.write_text(text, encoding="utf-8")


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index


@pytest.mark.parametrize(("page", "line", "found"), list(examples()))
def test_example_runs(page, line, found, tmp_path, servers):
    compile(found["source"], f"{page.name}, example", "exec")
    if found["no_run"]:
        return
    if package := missing(found["source"]):
        pytest.skip(f"{package} is not installed")
    result = run(page, line, found["source"], tmp_path, servers.environment(found["needs"]))
    where = f"{page.name}, example in line {line}"
    assert result.returncode == 0, f"{where}:\n{result.stdout}{result.stderr}"
    assert page.name == "README.md" or is_as_shown(result.stdout, found["output"]), (
        f"{where} prints this, and the block ```output after it does not show that; write it there, with `...` for what"
        f" differs each time, or run: python tests/test_docs.py {page.name}\n{result.stdout}"
    )


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


if __name__ == "__main__":
    write_outputs(sys.argv[1:])
