"""Builds `wsrelay.pump._native` from the C files beside it; setup.py calls this. Not imported at run time."""

from pathlib import Path

from cffi import FFI

FOLDER = Path(__file__).parent

# Relative to setup.py, as setuptools wants them.
SOURCES = [f"wsrelay/pump/{name}.c" for name in ("crew", "pump", "tunnel", "leg", "pipes", "handshake")]
HEADERS = [f"wsrelay/pump/{name}.h" for name in ("crew", "pump", "tunnel", "leg", "pipes", "tls")]

# cffi reads declarations, not the preprocessor's lines.
declarations = [line for line in (FOLDER / "pump.h").read_text().splitlines() if not line.startswith("#")]

builder = FFI()
builder.cdef("\n".join(declarations))
builder.set_source(
    "wsrelay.pump._native",
    '#include "pump.h"',
    sources=SOURCES,
    depends=HEADERS,
    include_dirs=["wsrelay/pump"],
    extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
    libraries=["pthread"],
    # Without a compiler, or elsewhere than on Linux, the installation succeeds, and the reactor pump serves.
    optional=True,
)
