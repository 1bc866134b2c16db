"""The peers and the settings that are tried on them: each is measured at its best ones, chosen for each work by a trial.

What CTranslate2 4.8.5 reads from the environment was read off its library. It takes AVX2 kernels on AMD by itself, and
`CT2_FORCE_CPU_ISA` chooses others. Integer products go to oneDNN on AMD and to MKL on Intel, there with packed weights;
`CT2_USE_MKL` and `CT2_PACKED_GEMM` choose otherwise. MKL on AMD is left out: it was measured to be fifteen times slower.
`CT2_USE_EXPERIMENTAL_PACKED_GEMM`, the name in older versions, is not read any more. Waiting threads that spin
(`OMP_WAIT_POLICY`) made it no faster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from benchmarks.contestants import Specification
from quant.artifact import read_artifact

Peer = Literal["ctranslate2", "transformers"]


def peer_settings(peer: Peer, artifact: Path, threads: int, scratch: Path) -> list[Specification]:
    """What is to be tried; a CTranslate2 model of the artifact's layers is written into the scratch folder.

    Raises ModuleNotFoundError where the peer is not installed.
    """
    if peer == "transformers":
        return [
            Specification(f"generate, {dtype}", "transformers", artifact, threads, dtype=dtype)
            for dtype in ("float32", "bfloat16")
        ]
    from benchmarks.ctranslate2_model import write_ctranslate2

    converted = scratch / f"{artifact.name}-ctranslate2"
    write_ctranslate2(read_artifact(artifact), converted, "int8")
    splits = (1, threads) if threads > 1 else (1,)
    return [
        Specification(
            _name(environment, threads, replicas),
            "ctranslate2",
            converted,
            threads,
            replicas=replicas,
            environment=tuple(environment.items()),
        )
        for environment in environments()
        for replicas in splits
    ]


def environments() -> list[dict[str, str]]:
    """Of CTranslate2: the variables by which it takes each of the kernels that this processor has."""
    found: list[dict[str, str]] = [{}]
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        found.append({"CT2_FORCE_CPU_ISA": "AVX512"})
    if "GenuineIntel" in Path("/proc/cpuinfo").read_text():
        found += [{"CT2_PACKED_GEMM": "0"}, {"CT2_USE_MKL": "0"}]
    return found


def _name(environment: dict[str, str], threads: int, replicas: int) -> str:
    variables = [f"{key.removeprefix('CT2_')}={value}" for key, value in environment.items()] or ["defaults"]
    split = [f"{replicas} replicas"] if replicas > 1 else []
    return ", ".join(variables + split)
