"""Build the sdist and a wheel from that sdist, look inside, install the wheel in a fresh environment and use it there.

Run by `tox -e wheel`; not a test module, because it compiles everything and installs from PyPI.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Source folder and where its files are in the wheel.
FOLDERS = {"gevlite": "gevlite", "backends": "gevlite/backends"}

# Built on some platforms only.
ELSEWHERE = {"kqueue"} if sys.platform == "linux" else {"epoll"}


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT, quiet=True)
        (sdist,) = (folder / "dist").glob("*.tar.gz")
        (wheel,) = (folder / "dist").glob("*.whl")
        problems = [*check_sdist(sdist), *check_wheel(wheel)]
        for problem in problems:
            print("PROBLEM:", problem)
        if problems:
            return 1
        use(wheel, folder)
    print("sdist and wheel are complete")
    return 0


def source_files(*suffixes):
    """`(path in the tree, path in the wheel)` of the package's files with these suffixes."""
    for folder, installed in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes or path.name in suffixes:
                inside = path.relative_to(ROOT / folder).as_posix()
                yield f"{folder}/{inside}", f"{installed}/{inside}"


def check_sdist(path):
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {source for source, _ in source_files(".py", ".pyx", ".pxd", ".pyi", ".h", "py.typed")}
    wanted |= {"pyproject.toml", "setup.py", "tox.ini", "LICENSE", "README.md", "CHANGELOG.md"}
    wanted |= {"docs/index.md", "tests/test_cli.py", "tests/test_docs.py"}
    yield from (f"{name} is not in the sdist" for name in sorted(wanted - names))
    by_hand = [*(ROOT / "benchmarks").glob("*.[ch]"), *(ROOT / "tests" / "kqueue_standin").rglob("*.[ch]")]
    wanted = {source.relative_to(ROOT).as_posix() for source in by_hand}
    yield from (f"{name} is not in the sdist" for name in sorted(wanted - names))
    surplus = {name for name in names - wanted if name.endswith((".c", ".so"))}
    yield from (f"{name} does not belong in the sdist" for name in sorted(surplus))


def check_wheel(path):
    names = set(zipfile.ZipFile(path).namelist())
    wanted = {installed for _, installed in source_files(".py", ".pxd", ".pyi", ".h", "py.typed")}
    yield from (f"{name} is not in the wheel" for name in sorted(wanted - names))
    for source, installed in source_files(".pyx"):
        stem = installed.removesuffix(".pyx")
        if f"{stem}.pyi" not in names:
            yield f"{source} has no stub"
        compiled = any(n.startswith(f"{stem}.") and n.endswith(".so") for n in names)
        if compiled == (Path(stem).name in ELSEWHERE):
            yield f"{stem} {'is compiled' if compiled else 'is not compiled'} in the wheel"
    if not any(name.endswith("licenses/LICENSE") for name in names):
        yield "the wheel has no licence"
    for name in sorted(names):
        if not name.startswith("gevlite") or name.endswith((".c", ".pyx")):
            yield f"{name} does not belong in the wheel"


def use(wheel, folder):
    """Install it where nothing else is, and run it away from the source tree."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel)
    modules = [installed for _, installed in source_files(".pyx") if Path(installed).stem not in ELSEWHERE]
    statements = "; ".join(f"import {name.removesuffix('.pyx').replace('/', '.')}" for name in modules)
    run(python, "-c", statements, cwd=folder)
    for arguments in (["--version"], ["info"], ["demo", "--plain", "--count", "10", "--longest", "0.5"]):
        run(python, "-m", "gevlite", *arguments, cwd=folder)
    # A package that adds a backend; copied, because building it leaves files behind.
    example = shutil.copytree(ROOT / "examples" / "python_backend", folder / "python_backend")
    run(python, "-m", "pip", "install", "-q", example)
    run(python, "-c", "import gevlite; gevlite.config.backend = 'python-poll'; gevlite.sleep(0.001)", cwd=folder)


def run(*command, cwd=None, quiet=False):
    """Run a command that must succeed; with `quiet`, show what it printed only if it did not."""
    print("$", *command, flush=True)
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} if quiet else {}
    result = subprocess.run([str(part) for part in command], cwd=cwd, **output)
    if result.returncode:
        sys.exit(f"{result.stdout or ''}exit code {result.returncode}: {command[0]}")


if __name__ == "__main__":
    sys.exit(main())
