"""The extension modules; everything else about the package is in pyproject.toml."""

import os
import sys
import sysconfig

import greenlet
from Cython.Build import cythonize
from setuptools import Extension, setup

# greenlet ships its C header inside the package folder: "greenlet/greenlet.h" is found from the folder above it.
GREENLET_INCLUDE = os.path.dirname(os.path.dirname(os.path.abspath(greenlet.__file__)))

COMPILE_ARGS = ["-O2", "-fvisibility=hidden", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
if os.environ.get("GEVLITE_WERROR"):
    COMPILE_ARGS.append("-Werror")

CORE = ["_core", "timeout", "greenlet", "event", "lock", "queue", "_socketio"]

# A backend is built where its kernel interface exists.
BACKENDS = ["select"]
if sys.platform.startswith("linux"):
    BACKENDS.append("epoll")


def extension(package: str, folder: str, name: str) -> Extension:
    return Extension(
        f"{package}.{name}",
        [f"{folder}/{name}.pyx"],
        include_dirs=[GREENLET_INCLUDE, "gevlite"],
        extra_compile_args=COMPILE_ARGS if sysconfig.get_config_var("CC") else [],
        depends=["gevlite/_core.pxd", "gevlite/_greenlet_api.h", "gevlite/_stack_cache.h", "gevlite/_platform.h"],
    )


setup(
    ext_modules=cythonize(
        [extension("gevlite", "gevlite", name) for name in CORE]
        + [extension("gevlite.backends", "backends", name) for name in BACKENDS],
        language_level=3,
        compiler_directives={
            "binding": True,
            "embedsignature": True,
            "embedsignature.format": "python",
            "cdivision": True,
        },
        include_path=["."],
    )
)
