"""Generate the Python stubs from the .proto files: `python -m protos.generate`.

The include root is the repository, so that the generated imports read `protos.dqbart.v1`; a root of `protos/` would make
them `dqbart.v1`, which the package dqbart hides. The proto package, and with it every path on the wire, stays `dqbart.v1`.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROTO = "protos/dqbart/v1/seq2seq.proto"
ENDINGS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(folder: Path) -> list[Path]:
    """Write the stubs below `folder`, in the layout of the repository, and return their paths. Needs the `dev` extra."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python")] + [
        f"--{kind}_out=quiet:{folder}" for kind in ("mypy", "mypy_grpc")
    ]
    # mypy-protobuf's types carry the comments of the .proto; its plugins are installed beside the interpreter.
    programs = [Path(sys.executable).with_name(f"protoc-gen-{kind}") for kind in ("mypy", "mypy_grpc")]
    plugins = [f"--plugin={program.name}={program}" for program in programs]
    if protoc.main(["protoc", f"--proto_path={ROOT}", *plugins, *outputs, PROTO]) != 0:
        raise SystemExit(f"protoc refused {PROTO}")
    stem = folder / PROTO.removesuffix(".proto")
    return [stem.with_name(stem.name + ending) for ending in ENDINGS]


if __name__ == "__main__":
    for path in generate(ROOT):
        print(path.relative_to(ROOT), file=sys.stderr)
