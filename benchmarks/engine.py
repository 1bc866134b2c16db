"""The engine beside `transformers.generate` on the same layers: `python -m benchmarks.engine [ARTIFACT]`.

Both decode the same random sources to exactly `--new-tokens` tokens. The peer runs the student's dequantized weights in the
stock classes with SDPA attention, in float32 and in bf16, and the faster of the two counts. Runs alternate, so that a busy
machine slows both; the ratio is of medians. Needs the `compress` extra. `python -m benchmarks.random_artifact FOLDER` makes
a model of BART-base's shape to measure.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers import GenerationConfig, PreTrainedModel

from compress.packed_student import dequantized_student
from quant.artifact import Artifact, read_artifact
from serving.engine.engine import Engine, load_engine
from serving.engine.request import GenerationParameters, Request
from serving.engine.settings import EngineSettings

SHIPPED = Path(__file__).parents[1] / "models" / "mbart-de-en-2-2-8"


class Work(NamedTuple):
    """A number of sources of equal length, decoded together."""

    batch: int
    source_tokens: int
    beams: int

    def __str__(self) -> str:
        return f"batch {self.batch}, source {self.source_tokens}, " + (
            "greedy" if self.beams == 1 else f"beams {self.beams}"
        )


WORKS = (Work(1, 16, 4), Work(1, 128, 1), Work(1, 512, 4), Work(8, 128, 4), Work(32, 128, 1))
"""What is measured, as far as the model reads that long a source."""


def main(
    artifact: Annotated[Path, typer.Argument(help="folder of an artifact")] = SHIPPED,
    new_tokens: Annotated[int, typer.Option(min=2, help="tokens generated for each source")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="alternating runs of each")] = 7,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either side")] = torch.get_num_threads(),
) -> None:
    """Measure and print a table."""
    torch.set_num_threads(threads)
    model = read_artifact(artifact)
    engine = load_engine(artifact, EngineSettings(max_batch_rows=256))
    peers = {"float32": dequantized_student(model), "bf16": dequantized_student(model).to(torch.bfloat16)}
    table = Table("work", "engine, ms", *(f"generate {name}, ms" for name in peers), "ratio to the faster")
    for work in WORKS:
        if work.source_tokens > model.card.max_source_tokens:
            continue
        ids = torch.randint(10, model.architecture.vocab_size // 2, (work.batch, work.source_tokens)).tolist()
        runs = {"engine": engine_run(engine, model, work, ids, new_tokens)}
        runs |= {name: peer_run(peer, work, ids, new_tokens) for name, peer in peers.items()}
        medians = alternate(runs, rounds)
        ratio = min(medians[name] for name in peers) / medians["engine"]
        table.add_row(str(work), *(f"{1e3 * median:.0f}" for median in medians.values()), f"{ratio:.2f}x")
    Console(width=110).print(table)
    print(f"{artifact.name}: {new_tokens} forced tokens, {threads} threads, medians of {rounds} alternating runs")


def engine_run(engine: Engine, artifact: Artifact, work: Work, ids: list[list[int]], new_tokens: int) -> Callable[[], None]:
    parameters = GenerationParameters(
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        num_beams=work.beams,
        decoder_start_token_id=artifact.architecture.decoder_start_token_id,
        eos_token_id=artifact.architecture.eos_token_id,
    )

    def run() -> None:
        for source in ids:
            engine.submit(Request(tuple(source), parameters))
        while engine.has_work:
            engine.step()

    return run


def peer_run(model: PreTrainedModel, work: Work, ids: list[list[int]], new_tokens: int) -> Callable[[], None]:
    sources = torch.tensor(ids)
    config = GenerationConfig(
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        num_beams=work.beams,
        decoder_start_token_id=model.config.decoder_start_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )

    def run() -> None:
        model.generate(input_ids=sources, attention_mask=torch.ones_like(sources), generation_config=config)

    return run


def alternate(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each, after one run of each that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    typer.run(main)
