"""The workflows of GitHub Actions: all names in them exist here."""

import configparser
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
OTHERS = [
    *(ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"),
    ROOT / ".github" / "dependabot.yml",
    ROOT / "CITATION.cff",
]

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="an installed sdist has none")


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs():
    return {f"{path.stem}.{name}": job for path in WORKFLOWS for name, job in load(path)["jobs"].items()}


def steps():
    return [(name, step) for name, job in jobs().items() for step in job.get("steps", ())]


def expand(text):
    """`x{1,2}y` -> x1y, x2y; of several braces every combination."""
    match = re.search(r"\{([^{}]*)\}", text)
    if not match:
        return [text]
    return [
        one
        for part in match[1].split(",")
        for one in expand(text[: match.start()] + part.strip() + text[match.end() :])
    ]


def tox_environments():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    found = set()
    for section in parser.sections():
        if section.startswith("testenv:"):
            found.update(name.strip() for name in re.split(r",(?![^{]*\})", section[8:]))
    listed = re.split(r",(?![^{]*\})|\n", parser["tox"]["env_list"])
    names = {name.strip() for entry in (*found, *listed) for name in expand(entry.strip())}
    return names - {""}


def environments_used():
    for name, job in jobs().items():
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job.get("steps", ()):
            for called in re.findall(r"\btox -e (.+)", step.get("run", "")):
                if called.strip() == "${{ matrix.env }}":
                    given = [entry["env"] for entry in matrix.get("include", ())] + matrix.get("env", [])
                    assert given, f"{name} has no environment to run"
                    yield from ((name, one) for one in given)
                else:
                    yield from ((name, one) for one in called.strip().split(","))


def test_each_environment_that_is_named_exists():
    known = tox_environments()
    used = list(environments_used())
    assert len(used) >= 15
    assert [one for one in used if one[1] not in known] == []


def test_tox_installs_for_the_site_what_the_extra_has():
    with open(ROOT / "pyproject.toml", "rb") as file:
        extra = tomllib.load(file)["project"]["optional-dependencies"]["docs"]
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    assert parser["testenv:docs"]["deps"].split() == extra


def test_every_python_that_is_claimed_is_tested():
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    claimed = {c.rpartition(" ")[2] for c in project["project"]["classifiers"] if re.search(r":: 3\.\d+$", c)}
    tested = {entry["python"] for entry in jobs()["tests.linux"]["strategy"]["matrix"]["include"]}
    built = {f"3.{minor}" for minor in re.findall(r"cp3(\d+)-", project["tool"]["cibuildwheel"]["build"])}
    assert claimed == tested == built


def test_every_job_ends_and_may_only_what_it_needs():
    for path in WORKFLOWS:
        assert load(path)["permissions"] == {"contents": "read"}, path.name
    for name, job in jobs().items():
        assert "uses" in job or job["timeout-minutes"] <= 90, name
    assert jobs()["release.publish"]["permissions"]["id-token"] == "write"


def test_files_that_are_named_exist():
    for name, job in jobs().items():
        if job.get("uses", "").startswith("./"):
            assert (ROOT / job["uses"]).is_file(), name
    for _, step in steps():
        for path in re.findall(r"\b(?:tests|gevlite)/[\w/.]+\.py\b", step.get("run", "")):
            assert (ROOT / path).is_file(), path
        for path in re.findall(r"(?<=\s)tests/\w+\b(?!/)", step.get("run", "")):
            assert (ROOT / path).is_dir(), path


def test_the_other_files_are_well_formed():
    for path in OTHERS:
        assert isinstance(load(path), dict), path.name


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint():
    done = subprocess.run(["actionlint", *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
