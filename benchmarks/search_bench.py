"""Runs `dqbart bench search`: what the search of a step costs beside the model's arithmetic, and how that grows.

The model is so small (one layer, width 64, 2,048 tokens) that much of a step is the engine's own work: candidates, bans and
penalties, scores, tables. What is left is the model's: attention to more and more tokens, for one. Drawing is measured on
a head of BART-base's width and vocabulary, with 50,265 logits a row. Times are of the processor, the least of several
steps, so that other work on the machine disturbs them little.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import process_time
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.commands import BenchSearch
from benchmarks.random_artifact import BART_BASE, write_random_artifact
from quant.scheme import Layers, Scheme
from serving.engine.engine import Engine, load_engine
from serving.engine.request import GenerationParameters, Request
from serving.engine.runners import RunnerUnavailable
from serving.engine.settings import EngineSettings
from serving.engine.threads import set_threads

SMALL = {
    **BART_BASE,
    "vocab_size": 2048,
    "d_model": 64,
    "encoder_attention_heads": 1,
    "decoder_attention_heads": 1,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 1200,
}
SEARCHES: Mapping[str, Mapping[str, Any]] = {
    "greedy": {},
    "4 beams": {"num_beams": 4},
    "4 beams, no_repeat_ngram_size 3": {"num_beams": 4, "no_repeat_ngram_size": 3},
    "4 beams, repetition_penalty 1.2": {"num_beams": 4, "repetition_penalty": 1.2},
}
DRAWS: Mapping[str, Mapping[str, Any]] = {
    "top_k 50": {"top_k": 50},
    "top_k 10,000": {"top_k": 10_000},
    "top_k 0": {"top_k": 0},
    "top_k 0, top_p 0.9": {"top_k": 0, "top_p": 0.9},
}
LENGTHS = (10, 100, 1000)
DRAW_LENGTH = 10
STEPS = 20


def run_bench_search(settings: BenchSearch) -> int:
    """Returns the exit code: 0 measured, 1 not."""
    set_threads(1)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            small, wide = Path(scratch) / "small", Path(scratch) / "wide"
            write_random_artifact(small, Layers(1, 1), Scheme(8, 8, 8), SMALL)
            write_random_artifact(wide, Layers(1, 1), Scheme(8, 8, 8), BART_BASE)
            searches = {name: _at_lengths(small, settings, given, LENGTHS) for name, given in SEARCHES.items()}
            sampled = {name: {"do_sample": True, **given} for name, given in DRAWS.items()}
            draws = {name: _at_lengths(wide, settings, given, (DRAW_LENGTH,))[0] for name, given in sampled.items()}
    except RunnerUnavailable as error:
        print(f"dqbart bench search: error: {error}", file=sys.stderr)
        return 1
    console = Console()
    table = Table(title=f"µs a request and step, {settings.requests} requests at a time", title_justify="left")
    table.add_column("", no_wrap=True)
    for length in LENGTHS:
        table.add_column(f"at {length:,} tokens", justify="right")
    for name, seconds in searches.items():
        table.add_row(name, *(f"{each / settings.requests * 1e6:.1f}" for each in seconds))
    console.print(table)
    table = Table(
        "", title=f"ms a step, {settings.requests} rows of {BART_BASE['vocab_size']:,} logits", title_justify="left"
    )
    table.add_column("ms", justify="right")
    table.add_column(f"beside {next(iter(DRAWS))}", justify="right")
    for name, each in draws.items():
        table.add_row(name, f"{each * 1e3:.1f}", f"{each / next(iter(draws.values())):.2f}x")
    console.print(table)
    if settings.json_file is not None:
        figures = {"requests": settings.requests, "lengths": LENGTHS, "searches": searches, "draws": draws}
        settings.json_file.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _at_lengths(folder: Path, settings: BenchSearch, parameters: Mapping[str, Any], lengths: tuple[int, ...]) -> list[float]:
    """Seconds of a step when so many tokens were generated, the least of `STEPS`."""
    engine = load_engine(folder, EngineSettings(max_batch_rows=4 * settings.requests), settings.runner)
    longest = max(lengths) + STEPS + 1
    given = GenerationParameters(longest, 2, (2,), min_new_tokens=longest, **parameters)
    for number in range(settings.requests):
        # Sources differ, so that the rows are not one another's.
        engine.submit(Request((number + 3, *range(3, 30), 2), given))
    seconds, done = [], 0
    for length in lengths:
        for _ in range(length - done):
            engine.step()
        seconds.append(min(_seconds_of(engine) for _ in range(STEPS)))
        done = length + STEPS
    return seconds


def _seconds_of(engine: Engine) -> float:
    start = process_time()
    engine.step()
    return process_time() - start
