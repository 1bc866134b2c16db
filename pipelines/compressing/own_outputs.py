"""What a student writes while it is trained, for on-policy distillation: drawn at temperature 1, by the engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from compress.training.on_policy import Ask
from pipelines.pseudo_label.labellers import decode_all
from quant.artifact import open_artifact
from quant.generation import GenerationSettings
from serving.engine.engine import Engine, load_engine
from serving.engine.request import GenerationParameters, Request
from serving.engine.runners import RunnerUnavailable
from serving.engine.settings import EngineSettings, RunnerName
from serving.engine.threads import set_threads

ROWS = 128
"""Rows decoded together."""


def write_outputs(folder: Path, asks: Sequence[Ask], device: torch.device) -> list[list[int]]:
    """The ids of an output for each, which depend on nothing else, by the artifact in `folder`.

    The engine computes on as many threads as PyTorch has, which has them again after it, and on the fastest runner that the
    device can have. Raises what the engine raises.
    """
    threads = torch.get_num_threads()
    try:
        set_threads(threads)
        artifact = open_artifact(folder)
        eos = GenerationSettings.of(artifact).eos_token_ids
        forced = artifact.card.forced_bos is not None
        requests = [_request(ask, eos, forced) for ask in asks]
        results = decode_all(_engine(folder, device, len(requests)), requests)
        return [list(result.sequences[0].token_ids) for result in results]
    finally:
        torch.set_num_threads(threads)


def _request(ask: Ask, eos: Sequence[int], forced: bool) -> Request:
    example = ask.example
    parameters = GenerationParameters(
        max_new_tokens=ask.most_tokens,
        decoder_start_token_id=example.decoder_ids[0],
        eos_token_ids=tuple(eos),
        do_sample=True,
        seed=ask.seed,
        forced_bos_token_id=example.label_ids[0] if forced else None,
    )
    return Request(tuple(example.source_ids), parameters)


def _engine(folder: Path, device: torch.device, requests: int) -> Engine:
    # Nobody will open this artifact again, so it is not kept packed.
    settings = EngineSettings(max_batch_rows=ROWS, max_queued_requests=requests, packed_folder="none")
    names: tuple[RunnerName, ...] = ("cuda", "native") if device.type == "cuda" else ("native",)
    for name in names:
        try:
            return load_engine(folder, settings, name)
        except RunnerUnavailable:
            continue
    return load_engine(folder, settings, "pytorch")
