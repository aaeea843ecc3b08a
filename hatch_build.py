"""Compiles `meshdiag/framing/kernel.c` when there is a C compiler: whenever the package is built, and by `python hatch_build.py`.

Without one the package is whole, too: frames are then read with numpy, slower and with the same result. The library has no
Python in it (it is called through ctypes), so one build does for every Python on a platform.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
SOURCE = ROOT / "meshdiag" / "framing" / "kernel.c"
LIBRARY = SOURCE.with_name("_kernel.dll" if sys.platform == "win32" else "_kernel.so")
FLAGS = ("-O3", "-fvisibility=hidden")


def build(library: Path = LIBRARY, flags: Sequence[str] = FLAGS) -> Path | None:
    """Compile; the library, or None when there is no compiler that can (MSVC cannot). `$CC` names another one."""
    compilers = [shlex.split(os.environ["CC"])] if os.environ.get("CC") else [["cc"], ["gcc"], ["clang"]]
    for compiler in compilers:
        if shutil.which(compiler[0]) is None:
            continue
        new = library.with_suffix(".new")
        for fewer in ([], ["-DLEVEL=1"], ["-DLEVEL=0"]):  # an old compiler does not know all instructions
            command = [*compiler, *flags, *fewer, "-shared", "-fPIC", "-o", str(new), str(SOURCE)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                new.replace(library)  # at once, as another process may be reading it
                return library
            new.unlink(missing_ok=True)
        print(f"{compiler[0]}: {done.stderr}", file=sys.stderr)
    return None


def platform_tag() -> str:
    """The wheel's platform: of the machine it was built on."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand
    BuildHookInterface = object


class CustomBuildHook(BuildHookInterface):
    """Puts the library into a wheel, which then is one of the platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling."""
        LIBRARY.unlink(missing_ok=True)  # one of another platform or version must not get into a wheel
        library = build()
        if library is not None and version != "editable":
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_tag()}"
            build_data["artifacts"].append(library.relative_to(ROOT).as_posix())


if __name__ == "__main__":
    print(build() or "no C compiler: frames are read with numpy")
