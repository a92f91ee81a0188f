"""The extension modules; everything else about the package is in pyproject.toml.

Every `.pyx` file in a folder of FOLDERS becomes a module of its name. A backend is left out where the kernel lacks
what it stands on. Cython runs only when something is built: an sdist, or a look at the metadata, needs no C files.

GEVLITE_WERROR=1 turns every warning, of Cython and of the C compiler, into an error.
GEVLITE_DEBUG=1 makes a slower core that checks its own state at each step and aborts if that is impossible.
GEVLITE_COVERAGE=1 has each line of Cython traced, and the C files beside the sources: see tests/under_coverage.py.
GEVLITE_KQUEUE_INCLUDE=tests/kqueue_standin, for tests only, builds the kqueue backend on Linux with its files.
"""

import glob
import logging
import os
import sys
import sysconfig

import greenlet
from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer

# A folder with a <sys/event.h> for systems that have none, and the C files behind it.
KQUEUE_INCLUDE = os.environ.get("GEVLITE_KQUEUE_INCLUDE", "")

WERROR = os.environ.get("GEVLITE_WERROR", "") not in ("", "0")

# greenlet ships its C header inside the package folder: "greenlet/greenlet.h" is found from the folder above it.
GREENLET_INCLUDE = os.path.dirname(os.path.dirname(os.path.abspath(greenlet.__file__)))

COMPILE_ARGS = ["-fvisibility=hidden", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
if "-O" not in os.environ.get("CFLAGS", ""):
    COMPILE_ARGS.insert(0, "-O2")  # otherwise CFLAGS has a level: -O0 builds in a quarter of the time
if WERROR:
    COMPILE_ARGS.append("-Werror")
DEBUG = os.environ.get("GEVLITE_DEBUG", "") not in ("", "0")
if not DEBUG and "-g" not in os.environ.get("CFLAGS", ""):
    COMPILE_ARGS.append("-g0")  # most Pythons pass -g, which makes the files three times as large

COVERAGE = os.environ.get("GEVLITE_COVERAGE", "") not in ("", "0")
MACROS = [("GEVLITE_DEBUG", "1")] * DEBUG + [("CYTHON_TRACE", "1")] * COVERAGE

DIRECTIVES = {"binding": True, "cdivision": True}
if COVERAGE:
    DIRECTIVES["linetrace"] = True

# More flags for a module. _thread_exit.h, which these two include, acts when its frame is unwound.
MORE_ARGS = {"_core": ["-fexceptions"], "greenlet": ["-fexceptions"]}

# Package and its folder.
FOLDERS = {"gevlite": "gevlite", "gevlite._http": "gevlite/_http", "gevlite.backends": "backends"}

HEADERS = sorted(path for kind in ("pxd", "pxi", "h") for path in glob.glob(f"gevlite/**/*.{kind}", recursive=True))

# Backends that need a particular kernel; all others are built everywhere.
PLATFORMS = {"epoll": ("linux",), "kqueue": ("darwin", "freebsd", "openbsd", "netbsd", "dragonfly")}


class CythonBuild(build_ext):
    def run(self):
        self.force = self.force or DEBUG  # existing files are from another build
        written = [os.path.join("build", "cython", e.sources[0].removesuffix("pyx") + "c") for e in self.extensions]
        older = [path for path in written if os.path.exists(path) and newer("setup.py", path)]
        translated = cythonize(
            self.extensions,
            language_level=3,
            compiler_directives=DIRECTIVES,
            include_path=["."],
            build_dir=None if COVERAGE else os.path.join("build", "cython"),
            force=WERROR or bool(older) or None,  # translated with other directives, maybe
        )
        sources = {extension.name: extension.sources for extension in translated}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        self.compiled = 0
        super().run()

    def build_extension(self, ext):
        super().build_extension(ext)
        self.compiled += 1
        self.announce(f"gevlite: {self.compiled} of {len(self.extensions)} modules are compiled", logging.INFO)


def sources() -> list[tuple[str, str]]:
    """All `.pyx` files, each with its package."""
    return [(package, path) for package in FOLDERS for path in sorted(glob.glob(f"{FOLDERS[package]}/*.pyx"))]


def modules(platform: str = sys.platform) -> list[Extension]:
    found = []
    for package, path in sources():
        folder, name = os.path.split(path.removesuffix(".pyx"))
        native = folder != "backends" or platform.startswith(PLATFORMS.get(name, ""))
        extra = [] if native or name != "kqueue" or not KQUEUE_INCLUDE else [KQUEUE_INCLUDE]
        if native or extra:
            found.append(
                Extension(
                    f"{package}.{name}",
                    [path, *(source for folder in extra for source in sorted(glob.glob(f"{folder}/*.c")))],
                    define_macros=MACROS,
                    include_dirs=[GREENLET_INCLUDE, "gevlite", *extra],
                    extra_compile_args=COMPILE_ARGS + MORE_ARGS.get(name, []) if sysconfig.get_config_var("CC") else [],
                    depends=HEADERS,
                )
            )
    return found


if WERROR:
    Options.warning_errors = True

setup(
    ext_modules=modules(),
    cmdclass={"build_ext": CythonBuild},
    options={
        "build_ext": {"parallel": os.cpu_count()},
        # Files that one build leaves there would become part of the next one's wheel.
        "build": {"build_base": "build/standin" if KQUEUE_INCLUDE else "build"},
    },
)
