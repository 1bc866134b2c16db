"""Runs `dqbart pseudo-label`: sequence-level distillation (Kim & Rush 2016, section 3.2), its first half.

    rows ─► source ids ─► engines, in chunks ─► the best beam of each ─► lines appended in the order of the rows

`dqbart compress --train FILE` is the second half. The engine's outputs do not depend on chunks, workers or interruptions,
so that a file that was continued is the same as one that was not.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from transformers import AutoTokenizer

from compress.data.dataset import Languages
from compress.data.text_format import TextFormat
from compress.device import pick_device
from compress.expected_errors import EXPECTED_ERRORS
from compress.model.teacher import load_teacher
from compress.model.told import taken_over
from pipelines.commands import PseudoLabel
from pipelines.pseudo_label.items import Item, load_items
from pipelines.pseudo_label.labellers import label
from pipelines.pseudo_label.packed_teacher import PseudoLabelError, pack_teacher
from quant.artifact import Artifact, is_artifact, read_artifact
from quant.generation import GenerationConfigError
from serving.clients.output import OutputError, OutputFile
from serving.engine.request import Request
from serving.engine.runners import reason_against
from serving.engine.settings import RunnerName
from serving.service.errors import ServiceError
from serving.service.generation import GenerationDefaults
from serving.service.requests import GenerationParameters
from serving.service.text import EncodedSource

EXIT_INTERRUPTED = 130
_SEARCH = ("num_beams", "length_penalty", "max_new_tokens", "min_new_tokens", "no_repeat_ngram_size")
# Where there is no terminal, a plain line at most this often instead of a bar.
_PLAIN_SECONDS = 20


def run_pseudo_label(settings: PseudoLabel) -> int:
    """Returns the exit code: 0 done, 1 failed, 130 interrupted."""
    console = Console()
    try:
        with tempfile.TemporaryDirectory(prefix="dqbart-") as scratch:
            return _pseudo_label(settings, Path(scratch), console)
    except (*EXPECTED_ERRORS, OutputError, ServiceError, GenerationConfigError) as error:
        print(f"dqbart pseudo-label: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say(console, f"interrupted; the same command continues {settings.output}")
        return EXIT_INTERRUPTED


def _pseudo_label(settings: PseudoLabel, scratch: Path, console: Console) -> int:
    runner = _runner(settings.device)
    artifact = _artifact(settings, scratch)
    card = artifact.card
    languages = Languages.told(settings.told().completed(card))
    items, empty = load_items(settings.source, card.task, settings.fields(), languages, settings.limit)
    requests, longest = _requests(settings, artifact, items)
    file = OutputFile(settings.output, _made_with(settings, artifact, requests[0]), lines_per_input=1)
    left = f", {file.done:,} of them labelled before" if file.done else ""
    _say(
        console,
        f"{len(items):,} sources{left}, {longest:,} of the longest length or cut; {empty:,} rows without text left out",
    )
    started, labelled = time.monotonic(), 0
    tokenizer = AutoTokenizer.from_pretrained(artifact.path)
    text_format = TextFormat(artifact.card, tokenizer, requests[0].parameters.eos_token_ids)
    chunks = label(artifact.path, requests[file.done :], settings.workers, settings.threads, runner, settings.batch_rows)
    with _Rate(console, len(items), file.done) as rate, closing(chunks):
        for labels in chunks:
            done = items[file.done + labelled : file.done + labelled + len(labels)]
            file.append(
                [
                    item.labelled(text_format.decode(each.token_ids), each.score)
                    for item, each in zip(done, labels, strict=True)
                ]
            )
            labelled += len(labels)
            rate.advance(len(labels))
    seconds = time.monotonic() - started
    rows = f", {labelled / seconds:.1f} rows/s with the loading of engines" if labelled else ""
    _say(console, f"{settings.output}: {len(items):,} rows{rows}")
    return 0


def _artifact(settings: PseudoLabel, scratch: Path) -> Artifact:
    if is_artifact(Path(settings.teacher)):
        artifact = read_artifact(Path(settings.teacher))
        taken_over(settings.teacher, artifact.card, settings.told())
        return artifact
    pack_teacher(load_teacher(settings.teacher, settings.told()), scratch)
    return read_artifact(scratch)


def _requests(settings: PseudoLabel, artifact: Artifact, items: list[Item]) -> tuple[list[Request], int]:
    """A request for each item, by the model's own decoding settings but for the flags; how many have the longest source."""
    defaults = GenerationDefaults.of(artifact)
    text_format = TextFormat(artifact.card, AutoTokenizer.from_pretrained(artifact.path), defaults.eos_token_ids)
    given = {name: value for name in _SEARCH if (value := getattr(settings, name)) is not None}
    try:
        asked = GenerationParameters(**given, return_scores=True)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]} = {fault['input']!r}: {fault['msg']}" for fault in error.errors())
        raise PseudoLabelError(faults) from error
    requests = []
    encoded = text_format.encode([item.example for item in items], artifact.architecture.max_position_embeddings)
    for item, each in zip(items, encoded, strict=True):
        target = item.example.target_language
        first = text_format.decoder_start_id(target), text_format.forced_bos_id(target)
        source = EncodedSource(tuple(each.source_ids), *first)
        requests.append(Request(source.source_ids, defaults.resolve(asked, source, settings.batch_rows)))
    longest = artifact.card.max_source_tokens
    return requests, sum(len(request.source_ids) == longest for request in requests)


def _made_with(settings: PseudoLabel, artifact: Artifact, first: Request) -> dict[str, Any]:
    """All that decides the lines. `limit` is left out: more rows of the same data continue a file."""
    further = ("early_stopping", "repetition_penalty", "encoder_no_repeat_ngram_size")
    parameters = {name: getattr(first.parameters, name) for name in (*_SEARCH, *further)}
    return {
        "teacher": artifact.card.teacher,
        "weights": artifact.source_digest,
        "scheme": str(artifact.scheme),
        "layers": str(artifact.architecture.layers),
        "source_template": artifact.card.source_template,
        "passage_separator": artifact.card.passage_separator,
        "normalization": list(artifact.card.normalization),
        "max_source_tokens": artifact.card.max_source_tokens,
        **parameters,
        "data": _digest(settings.source),
        "columns": [settings.source_field, settings.target_field, settings.question_field, settings.context_field],
        "languages": [settings.source_language, settings.target_language, settings.both_directions],
    }


def _digest(source: str) -> str:
    """sha256 of a local file; of a hub data set its name."""
    path = Path(source)
    if not path.is_file():
        return source
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _runner(device: str) -> RunnerName:
    """The engine's runner for a device, by the names that all commands have."""
    if device == "auto":
        return "auto"
    if pick_device(device).type == "cuda":
        return "cuda"
    return "pytorch" if reason_against("native") else "native"


class _Rate:
    """A bar with rows a second; lines where there is no terminal."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        columns = (TextColumn("labelling"), BarColumn(bar_width=30), MofNCompleteColumn())
        shown = TextColumn("{task.fields[rate]:.1f} rows/s"), TextColumn("left"), TimeRemainingColumn()
        self._bar = Progress(*columns, *shown, console=console, disable=not console.is_terminal)
        self._task: TaskID = self._bar.add_task("", total=total, completed=done, rate=0.0)
        self._console, self._total, self._start, self._done = console, total, done, done
        self._started = self._printed = time.monotonic()

    def __enter__(self) -> _Rate:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, rows: int) -> None:
        self._done += rows
        now = time.monotonic()
        rate = (self._done - self._start) / (now - self._started)
        self._bar.update(self._task, completed=self._done, rate=rate)
        if not self._console.is_terminal and now - self._printed >= _PLAIN_SECONDS:
            self._printed = now
            _say(self._console, f"{self._done:,} of {self._total:,}, {rate:.1f} rows/s")


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True, markup=False)
