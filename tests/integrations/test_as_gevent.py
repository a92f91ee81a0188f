"""`gevlite.as_gevent`: what `import gevent` gives, errors for missing names, and running programs."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest

from gevlite import as_gevent

INSTALL = "from gevlite import as_gevent; as_gevent.install()\n"


@pytest.fixture
def aliased(run_script):
    """`aliased(source)`: run it in a process where gevent is gevlite; the lines of its output."""

    def run(source, **options):
        return run_script(INSTALL + textwrap.dedent(source), **options).stdout.splitlines()

    return run


@pytest.fixture
def command(tmp_path):
    """`command(*arguments)`: run `python -m gevlite.as_gevent`; `files` are written to its directory first."""

    def run(*arguments, code=0, **files):
        for name, source in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        done = subprocess.run(
            [sys.executable, "-m", "gevlite.as_gevent", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def other_gevent(tmp_path):
    """An environment in which another package `gevent` is installed."""
    (tmp_path / "gevent").mkdir()
    (tmp_path / "gevent" / "__init__.py").write_text("real = True\n")
    (tmp_path / "gevent" / "pool.py").write_text("real = True\n")
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


def installed(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False


# ---------------------------------------------------------------- identity


def test_a_submodule_is_the_module_of_gevlite(aliased):
    assert aliased("""
        import gevent.pool, gevent.event
        import gevlite.pool, gevlite.event
        from gevent import socket
        from gevent.resolver import thread
        import gevlite.socket, gevlite.resolver.thread
        assert gevent.pool is gevlite.pool and gevent.event is gevlite.event and socket is gevlite.socket
        assert thread is gevlite.resolver.thread
        # and remains what it is
        assert gevlite.pool.__name__ == gevlite.pool.__spec__.name == "gevlite.pool"
        assert gevlite.resolver.__spec__.name == gevlite.resolver.__package__ == "gevlite.resolver"
        print("same")
    """) == ["same"]


def test_names_of_the_package_are_those_of_gevlite(aliased):
    assert aliased("""
        import gevent, gevlite
        names = [name for name in gevlite.__all__ if name != "__version__"]
        assert names == gevent.__all__
        assert all(getattr(gevent, name) is getattr(gevlite, name) for name in names)
        print(gevent.spawn(lambda: gevent.sleep(0.001) or "ran").get())
    """) == ["ran"]


def test_every_module_can_be_imported(aliased):
    optional = {"pycares": "resolver.ares", "dns.resolver": "resolver.dnspython"}
    without = {module for library, module in optional.items() if not installed(library)}
    names = sorted(as_gevent.MODULES - without)
    assert (
        aliased(f"""
        import importlib, operator
        for name in {names}:
            assert importlib.import_module(f"gevent.{{name}}") is importlib.import_module(f"gevlite.{{name}}"), name
            import gevent       # also as an attribute
            assert operator.attrgetter(name)(gevent).__name__ == f"gevlite.{{name}}", name
            print(name)
    """)
        == names
    )


def test_a_submodule_is_there_without_importing_it(aliased):
    assert aliased("import gevent; print(gevent.event.Event.__name__)") == ["Event"]


def test_version_is_that_of_the_api(aliased):
    assert aliased("""
        import gevent, gevlite, importlib.metadata
        print(gevent.__version__, importlib.metadata.version("gevent"), gevent.version_info[:3])
        assert gevent.version_info > (1, 3) and gevlite.__version__ != gevent.__version__
    """) == [f"{as_gevent.API_VERSION} {as_gevent.API_VERSION} (26, 9, 0)"]


def test_the_package_can_be_found_without_importing_it(aliased):
    assert aliased("""
        import importlib.util, sys
        assert importlib.util.find_spec("gevent") is not None
        assert "gevent" not in sys.modules
        assert importlib.util.find_spec("gevent.pool") is not None
        print("found")
    """) == ["found"]


# ---------------------------------------------------------------- missing names

MISSING = {
    "from gevent.pool import Basin": ("ImportError", "gevent.pool has no 'Basin'"),
    "from gevent import basin": ("ImportError", "gevent has no 'basin'"),
    "import gevent.basin": ("ModuleNotFoundError", "no module gevent.basin"),
    "import gevent.monkey.basin": ("ModuleNotFoundError", "no module gevent.monkey.basin"),
    "from gevent.threadpool import Basin": ("ImportError", "gevent.threadpool has no 'Basin'"),
    "import gevent; gevent.basin()": ("AttributeError", "gevent has no 'basin'"),
    "import gevent.pool; gevent.pool.Basin()": ("AttributeError", "gevent.pool has no 'Basin'"),
}


@pytest.mark.parametrize("statement", MISSING)
def test_what_is_missing_is_named_and_where_to_report_it(aliased, statement):
    kind, text = MISSING[statement]
    lines = aliased(f"""
        try:
            {statement}
        except Exception as exc:
            print(type(exc).__name__, exc, sep="\\n")
    """)
    assert lines[0] == kind
    assert lines[1].startswith(text)
    assert "replaces gevent" in lines[1] and "report it" in lines[1]


def test_missing_names_can_be_asked_for(aliased):
    assert aliased("""
        import gevent.pool
        assert not hasattr(gevent, "basin") and getattr(gevent.pool, "Basin", None) is None
        assert not hasattr(gevent, "__wrapped__")
        print("asked")
    """) == ["asked"]


def test_private_modules_and_what_only_gevlite_has_are_not_there(aliased):
    assert (
        aliased("""
        import importlib
        for name in ("_core", "_config", "backends", "integrations", "as_gevent", "libev"):
            try:
                importlib.import_module(f"gevent.{name}")
            except ModuleNotFoundError as exc:
                assert exc.name == f"gevent.{name}"
            else:
                print(name)
    """)
        == []
    )


# ---------------------------------------------------------------- where gevent is installed


def test_it_wins_over_an_installed_gevent(aliased, other_gevent):
    assert aliased(
        """
        import gevent.pool, gevlite.pool
        assert not hasattr(gevent, "real") and gevent.pool is gevlite.pool
        print(gevent.__version__)
    """,
        env=other_gevent,
    ) == [as_gevent.API_VERSION]


def test_it_complains_if_gevent_was_imported_before(run_script, other_gevent):
    done = run_script("import gevent.pool\n" + INSTALL, env=other_gevent, code=1)
    assert "RuntimeError: gevent itself was imported before" in done.stderr
    assert os.path.join("gevent", "__init__.py") in done.stderr


def test_installing_twice_is_harmless(aliased):
    assert aliased("""
        import gevent, sys
        before = list(sys.meta_path)
        as_gevent.install()
        assert sys.meta_path == before
        print("twice")
    """) == ["twice"]


def test_without_it_gevent_is_not_gevlite(run_script, other_gevent):
    assert run_script("import gevlite.as_gevent, gevent; print(gevent.real)", env=other_gevent).stdout == "True\n"


# ---------------------------------------------------------------- the command

PROGRAM = """
    import sys, gevent, gevent.lock, gevlite.lock
    assert gevent.lock is gevlite.lock
    print(__name__, sys.argv[1:], gevlite.as_gevent.install.__module__)
    sys.exit(3)
"""


def test_it_runs_a_script(command):
    done = command("program.py", "a", "-m", program=PROGRAM, code=3)
    assert done.stdout.split("\n")[0] == "__main__ ['a', '-m'] gevlite.as_gevent"


def test_it_runs_a_module(command):
    done = command("-m", "program", "--flag", program=PROGRAM, code=3)
    assert done.stdout.split("\n")[0] == "__main__ ['--flag'] gevlite.as_gevent"


def test_it_patches_nothing(command):
    source = "from gevlite import monkey; print(monkey.is_anything_patched())"
    assert command("program.py", program=source).stdout == "False\n"


def test_gevent_monkey_runs_a_program_patched(command):
    source = "import sys, gevent.monkey; print(gevent.monkey.is_module_patched('socket'), sys.argv[1:])"
    assert command("-m", "gevent.monkey", "program.py", "x", program=source).stdout == "True ['x']\n"


def test_a_forked_child_has_it_too(command):
    source = """
        import os
        pid = os.fork()
        if pid == 0:
            import gevent.pool, gevlite.pool
            os._exit(gevent.pool is gevlite.pool)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        print("forked")
    """
    assert command("program.py", program=source).stdout == "forked\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "no script and no module"),
        (["-m"], "-m needs the name"),
        (["--fast", "x.py"], "unknown option --fast"),
        (["nowhere.py"], "cannot open nowhere.py"),
        (["-m", "nowhere_at_all"], "no module named nowhere_at_all"),
    ],
)
def test_a_wrong_command_is_explained(command, arguments, text):
    done = command(*arguments, code=2)
    assert text in done.stderr and "usage:" in done.stderr


def test_help(command):
    assert "usage:" in command("--help").stdout


# ---------------------------------------------------------------- patching


def test_patching_does_not_take_the_aliases_for_modules_that_came_too_early(aliased):
    """They hold originals on purpose, and must keep them."""
    assert aliased("""
        import gevent.socket, gevent.ssl, gevent.subprocess, gevent.threadpool, gevent.monkey, warnings
        warnings.simplefilter("error")
        gevent.monkey.patch_all(fix=True)
        import socket
        assert socket.socket is gevent.socket.socket
        print(gevent.get_hub().threadpool.apply(len, ("four",)))
    """) == ["4"]


def test_the_wsgi_server_says_that_it_is_gevents(aliased):
    assert aliased("""
        import gevent.pywsgi
        server = gevent.pywsgi.WSGIServer(("127.0.0.1", 0), None)
        print(server.environ["SERVER_SOFTWARE"].partition("/")[0])
    """) == ["gevent"]


# ---------------------------------------------------------------- children that start Python anew

CHILDREN = "from gevlite import as_gevent; as_gevent.install(children=True)\n"
ASK = "import gevent, gevlite; print(gevent.spawn is gevlite.spawn)"


def test_a_child_has_gevlite_for_gevent_only_if_asked_for(run_script):
    ask = f"""
import os, subprocess, sys
print(subprocess.run([sys.executable, "-c", {ASK!r}], capture_output=True, text=True).stdout.strip())
"""
    assert run_script(CHILDREN + ask).stdout.split() == ["True"]
    assert run_script(INSTALL + ask, env={"GEVLITE_AS_GEVENT": "1"}).stdout.split() != ["True"]
    assert run_script(INSTALL + ask).stdout.split() != ["True"]
    assert run_script(CHILDREN + "as_gevent.install(children=False)\n" + ask).stdout.split() != ["True"]


def test_a_child_of_a_child_has_it_too(run_script):
    assert run_script(
        CHILDREN
        + f"""
import subprocess, sys
inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', {ASK!r}])"
subprocess.run([sys.executable, "-c", inner])
"""
    ).stdout.split() == ["True"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing_has_it_however_it_starts_children(command, method):
    done = command(
        "--children",
        "script.py",
        script=f"""
        import multiprocessing

        def ask(connection):
            import gevent, gevlite
            connection.send(gevent.spawn is gevlite.spawn)

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            ours, theirs = context.Pipe()
            child = context.Process(target=ask, args=(theirs,))
            child.start()
            print(ours.poll(25) and ours.recv())
            child.join()
    """,
    )
    assert done.stdout.split() == ["True"]


def test_a_program_that_replaces_itself_has_it_again(command):
    done = command(
        "--children",
        "script.py",
        script=f"""
        import os, sys
        os.execv(sys.executable, [sys.executable, "-c", {ASK!r}])
    """,
    )
    assert done.stdout.split() == ["True"]


def test_a_child_imports_gevlite_only_when_it_asks_for_gevent(run_script):
    assert run_script(
        CHILDREN
        + """
import os, subprocess, sys
ask = "import sys; print('gevlite' in sys.modules, any(path.endswith('_startup') for path in sys.path))"
subprocess.run([sys.executable, "-c", ask])
metadata = "import sys, importlib.metadata; print(importlib.metadata.version('gevent'), 'gevlite' in sys.modules)"
subprocess.run([sys.executable, "-c", metadata])
"""
    ).stdout.split() == ["False", "False", as_gevent.API_VERSION, "True"]


def test_the_sitecustomize_of_others_has_its_turn(run_script, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.theirs = __name__, __file__\n")
    result = run_script(
        CHILDREN
        + """
import subprocess, sys
ask = "import sys, sitecustomize, gevent; print(*sys.theirs, sitecustomize.__file__ == sys.theirs[1])"
subprocess.run([sys.executable, "-c", ask])
""",
        env={"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )
    assert result.stdout.split() == ["sitecustomize", str(tmp_path / "sitecustomize.py"), "True"]


def test_what_was_in_pythonpath_stays_there(run_script, tmp_path):
    (tmp_path / "of_the_program.py").write_text("")
    result = run_script(
        """
import os, subprocess, sys
before = os.environ["PYTHONPATH"]
from gevlite import as_gevent
for _ in range(3):
    as_gevent.install(children=True)
assert os.environ["PYTHONPATH"].endswith(before) and os.environ["PYTHONPATH"].count("_startup") == 1
subprocess.run([sys.executable, "-c", "import of_the_program, gevent; print('there')"])
as_gevent.install(children=False)
print(os.environ["PYTHONPATH"] == before, "GEVLITE_AS_GEVENT" in os.environ)
""",
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert result.stdout.split() == ["there", "True", "False"]


def test_a_python_without_gevlite_is_left_alone(run_script, other_gevent):
    assert run_script(
        CHILDREN
        + """
import subprocess, sys
ask = "import sys; sys.modules['gevlite'] = None; import gevent; print(gevent.real)"
subprocess.run([sys.executable, "-c", ask])
""",
        env=other_gevent,
    ).stdout.split() == ["True"]


def test_children_needs_a_program(command):
    assert "no script and no module given" in command("--children", code=2).stderr
