"""`python -m gevlite.monkey`: the program is patched; everything else is as Python would have set it."""

import json
import zipfile

import pytest

REPORT = """
import sys, json, os
from gevlite import monkey
main = sys.modules["__main__"]
print(json.dumps({
    "name": __name__, "file": __file__, "argv": sys.argv, "path": sys.path[0], "package": __package__,
    "spec": __spec__ and __spec__.name, "is_main": main.__dict__ is globals(), "doc": __doc__,
    "patched": sorted(monkey.saved),
}))
"""


@pytest.fixture
def compare(script):
    """Run the same command with and without `-m gevlite.monkey`; return both reports."""

    def run(*arguments, options=(), cwd=None):
        plain = json.loads(script.python(*arguments, cwd=cwd))
        assert plain.pop("patched") == []
        patched = json.loads(script.python("-m", "gevlite.monkey", *options, *arguments, cwd=cwd))
        assert script.stderr == ""
        areas = patched.pop("patched")
        assert patched == plain
        return areas

    return run


def test_script(script, compare, tmp_path):
    path = script.write('"""The doc string."""\n' + REPORT)
    areas = compare(path, "one", "--two", "-m", cwd=tmp_path)
    assert {"socket", "threading", "time"} < set(areas)
    (tmp_path / "elsewhere").mkdir()
    compare("../script.py", cwd=tmp_path / "elsewhere")


def test_module_and_package(script, compare, tmp_path):
    script.write(REPORT, "some_module.py")
    (tmp_path / "some_package" / "inner").mkdir(parents=True)
    for folder in ("some_package", "some_package/inner"):
        script.write("", f"{folder}/__init__.py")
        script.write("from . import helper\n" + REPORT, f"{folder}/__main__.py")
        script.write("", f"{folder}/helper.py")
    for name in ("some_module", "some_package", "some_package.inner"):
        compare("-m", name, "one", "--two", cwd=tmp_path)


def test_directory_and_zip_file(script, compare, tmp_path):
    (tmp_path / "app").mkdir()
    script.write(REPORT + "import beside\n", "app/__main__.py")
    script.write("", "app/beside.py")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        for name in ("__main__.py", "beside.py"):
            archive.write(tmp_path / "app" / name, name)
    for target in ("app", "app.zip", tmp_path / "app"):
        compare(target, "argument", cwd=tmp_path)


def test_areas_can_be_left_out(script, compare, tmp_path):
    path = script.write(REPORT)
    areas = compare(path, options=["--no-thread", "--no-ssl"], cwd=tmp_path)
    assert "socket" in areas and not {"threading", "_thread", "ssl"} & set(areas)


def test_areas_can_be_chosen(script, compare, tmp_path):
    path = script.write(REPORT)
    areas = compare(path, options=["--socket", "--time"], cwd=tmp_path)
    assert "socket" in areas and not {"threading", "_thread", "ssl", "select"} & set(areas)


def test_it_is_really_patched(script):
    path = script.write(
        """
        import threading, time
        order = []
        turns = [threading.Event() for _ in range(5)]
        def work(n):
            turns[n].wait()
            time.sleep(0.001)
            order.append((n, threading.get_native_id()))
            turns[n + 1].set()
        threads = [threading.Thread(target=work, args=(n,)) for n in (3, 1, 2)]
        for thread in threads:
            thread.start()
        turns[1].set()
        for thread in threads:
            thread.join()
        print([n for n, _ in order], len({native for _, native in order}))
        """
    )
    assert script.python("-m", "gevlite.monkey", path) == "[1, 2, 3] 1\n"


def test_exit_code_and_traceback_are_the_programs_own(script):
    path = script.write("import sys\nsys.exit(3)\n")
    assert script.python("-m", "gevlite.monkey", path) == "" and script.returncode == 3
    path = script.write("def f():\n    raise ValueError('broken')\nf()\n")
    assert script.python("-m", "gevlite.monkey", path) == "" and script.returncode == 1
    assert script.stderr.rstrip().endswith("ValueError: broken") and 'script.py", line 2, in f' in script.stderr
    path = script.write("def f(:\n")
    assert script.python("-m", "gevlite.monkey", path) == "" and script.returncode == 1
    assert "SyntaxError" in script.stderr


def test_what_runs_after_the_script_still_finds_its_main_module(script):
    path = script.write(
        """
        import atexit, pickle, threading, time
        class Mine:
            pass
        def late(who):
            print(who, type(pickle.loads(pickle.dumps(Mine()))).__name__)
        def thread():
            time.sleep(0.01)
            late("thread")
        threading.Thread(target=thread).start()
        atexit.register(late, "atexit")
        """
    )
    assert script.python("-m", "gevlite.monkey", path) == "thread Mine\natexit Mine\n"
    assert (script.returncode, script.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no script and no module given"),
        (["--no-ssl"], "no script and no module given"),
        (["--no-such-area", "script.py"], "unknown option --no-such-area"),
        (["--ssl"], "no script and no module given"),
        (["-x"], "unknown option -x"),
        (["-m"], "-m needs the name of a module"),
        (["-m", "no_such_module"], "no_such_module"),
        (["-m", "no_such_package.module"], "no_such_package"),
        (["-m", "json.tool.x"], "json.tool"),
        (["-m", "_socket"], "_socket"),
        (["-m", ".relative"], ".relative"),
        (["no such file.py"], "no such file.py: No such file or directory"),
        (["."], "__main__"),
    ],
)
def test_usage_errors(script, tmp_path, arguments, message):
    out = script.python("-m", "gevlite.monkey", *arguments, cwd=tmp_path)
    assert (script.returncode, out) == (2, "")
    assert script.stderr.startswith("usage: python -m gevlite.monkey") and message in script.stderr
    assert "Traceback" not in script.stderr


def test_help(script):
    out = script.python("-m", "gevlite.monkey", "--help")
    assert script.returncode == 0 and out.startswith("usage:") and "--no-AREA" in out and "socket, dns, time" in out
