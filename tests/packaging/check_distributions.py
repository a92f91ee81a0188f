"""Build the sdist, and a wheel from it for each Python here; look inside, install the wheels where nothing else is, and
use them there.

    check_distributions.py [--keep FOLDER] [PYTHON]...      for these Pythons only; the files stay in FOLDER

Run by `tox -e wheel`; not a test module, because it compiles everything and installs from PyPI. On Linux auditwheel
makes them manylinux wheels (or musllinux). tests/packaging/smoke.py checks what an installed wheel must be able to do,
without a compiler on PATH.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Source folder and where its files are in the wheel.
FOLDERS = {"gevlite": "gevlite", "backends": "gevlite/backends"}

# Built on some platforms only.
ELSEWHERE = {"kqueue"} if sys.platform == "linux" else {"epoll"}


# Bytes of a wheel that is stripped and optimised. With CFLAGS=-O0, which builds faster, only the last one is optimised.
LARGEST = 3_300_000


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="put what was built there")
    parser.add_argument("pythons", nargs="*", metavar="PYTHON")
    options = parser.parse_args()
    pythons = options.pythons or pythons_here()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--sdist", "--outdir", folder / "dist", ROOT, quiet=True)
        (sdist,) = (folder / "dist").glob("*.tar.gz")
        problems = list(check_sdist(sdist))
        wheels = []
        for python in pythons:
            made = folder / f"made-{len(list(folder.iterdir()))}"
            optimised = python == pythons[-1] or "-O0" not in os.environ.get("CFLAGS", "")
            environment = os.environ | {"CFLAGS": "-g0"} if optimised else None
            run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", made, sdist, env=environment, quiet=True)
            (wheel,) = made.glob("*.whl")
            if sys.platform == "linux":
                wheel = repair(wheel, made)
            wheels.append(Path(shutil.copy(wheel, folder / "dist")))
            problems += check_wheel(wheel, LARGEST if optimised else None)
        run(sys.executable, "-m", "twine", "check", "--strict", *(folder / "dist").iterdir())
        run("check-wheel-contents", *wheels, cwd=ROOT)
        for problem in problems:
            print("PROBLEM:", problem)
        if problems:
            return 1
        for python, wheel in zip(pythons, wheels, strict=True):
            use(python, wheel, folder)
        if options.keep:
            shutil.copytree(folder / "dist", options.keep, dirs_exist_ok=True)
    print(f"the sdist and {len(pythons)} wheels are complete and work")
    return 0


def pythons_here():
    """One Python of each supported version, the oldest first: what pyenv has or what is on PATH."""
    found = []
    for minor in range(11, 16):
        folder = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
        paths = sorted(folder.glob(f"3.{minor}.*/bin/python3"), key=release)
        path = str(paths[-1]) if paths else shutil.which(f"python3.{minor}")
        if path and subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
            found.append(path)
    return found or [sys.executable]


def release(path):
    """For sorting: 3.11.10 comes after 3.11.9."""
    return [int(number) for number in re.findall(r"\d+", path.parents[1].name)]


def repair(wheel, made):
    """The wheel with a tag that PyPI accepts, for the oldest system that it runs on."""
    run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", made / "repaired", wheel, quiet=True)
    (repaired,) = (made / "repaired").glob("*.whl")
    return repaired


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
    wanted = {source for source, _ in source_files(".py", ".pyx", ".pxd", ".pyi", ".h", ".html", "py.typed")}
    wanted |= {"pyproject.toml", "setup.py", "tox.ini", "LICENSE", "README.md", "CHANGELOG.md"}
    wanted |= {"docs/index.md", "tests/test_cli.py", "tests/test_docs.py"}
    yield from (f"{name} is not in the sdist" for name in sorted(wanted - names))
    by_hand = [*(ROOT / "benchmarks").glob("*.[ch]"), *(ROOT / "tests" / "kqueue_standin").rglob("*.[ch]")]
    wanted = {source.relative_to(ROOT).as_posix() for source in by_hand}
    yield from (f"{name} is not in the sdist" for name in sorted(wanted - names))
    surplus = {name for name in names - wanted if name.endswith((".c", ".so"))}
    yield from (f"{name} does not belong in the sdist" for name in sorted(surplus))


def check_wheel(path, largest):
    names = set(zipfile.ZipFile(path).namelist())
    size = path.stat().st_size
    print(f"{path.name}: {size / 1e6:.1f} MB")
    if largest and size > largest:
        yield f"{path.name} has {size:,} bytes, more than {largest:,}: is it stripped?"
    if (
        sys.platform == "linux"
        and "linux_" in path.name
        and "manylinux" not in path.name
        and "musllinux" not in path.name
    ):
        yield f"{path.name} has a tag that PyPI does not accept"
    wanted = {installed for _, installed in source_files(".py", ".pxd", ".pyi", ".h", ".html", "py.typed")}
    wanted.add("gevlite_pytest.py")
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


def use(python, wheel, folder):
    """Install it where nothing else is, and run it away from the source tree."""
    place = folder / f"venv-{wheel.name.split('-')[2]}"
    run(python, "-m", "venv", place)
    python = place / "bin" / "python"
    bare = {**os.environ, "PATH": str(place / "bin")}  # no compiler
    run(python, "-m", "pip", "install", "-q", "--only-binary", ":all:", wheel, env=bare)
    run(python, Path(__file__).with_name("smoke.py"), cwd=folder, env=bare)
    # A package that adds a backend; copied, because building it leaves files behind.
    example = shutil.copytree(ROOT / "examples" / "python_backend", folder / "python_backend", dirs_exist_ok=True)
    run(python, "-m", "pip", "install", "-q", example)
    run(python, "-c", "import gevlite; gevlite.config.backend = 'python-poll'; gevlite.sleep(0.001)", cwd=folder)


def run(*command, cwd=None, env=None, quiet=False):
    """Run a command that must succeed; with `quiet`, show what it printed only if it did not."""
    print("$", *command, flush=True)
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} if quiet else {}
    result = subprocess.run([str(part) for part in command], cwd=cwd, env=env, **output)
    if result.returncode:
        sys.exit(f"{result.stdout or ''}exit code {result.returncode}: {command[0]}")


if __name__ == "__main__":
    sys.exit(main())
