"""Many inputs by requests of several, some of them on their way at a time, answered in the order of the inputs.

So the server's batch stays full, and neither a slow answer nor a large file makes anything pile up. A request is refused
whole; where one of its inputs may be to blame, halves of it are asked again until that one is found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.clients.answers import OF_ONE_INPUT, Answered, Batch, Refusal, Refused
from serving.clients.client import Client, Request, ServerError
from serving.clients.inputs import Input, InputError

MAY_BE_OF_ONE_INPUT = (*OF_ONE_INPUT, "bad_parameter")
"""Codes of errors. A bad parameter is the fault of all inputs, but for those that are answered in windows."""

AHEAD = 4
"""Requests that may be answered before the oldest one is, as a multiple of those that are on their way."""


def answer_all(
    client: Client,
    build: Callable[[Sequence[Input]], Request],
    inputs: Iterable[Input],
    *,
    per_request: int,
    in_flight: int,
    skip: bool,
) -> Generator[Batch]:
    """Inputs with their answers, some at a time. With `skip`, an input that is at fault is given with what is wrong.

    Raises Refused, and the InputError of `inputs`, when all inputs before were answered. Closing the iterator closes the
    client, for that is what ends the calls on their way.
    """
    pool = ThreadPoolExecutor(in_flight)
    waiting: deque[Future[Batch]] = deque()
    batches = in_batches(inputs, per_request)
    fault: Exception | None = None
    done = taken = False
    try:
        while True:
            # What is answered does not wait for inputs that are slow to come.
            while len(waiting) < AHEAD * in_flight and not (taken and waiting[0].done()):
                try:
                    batch = next(batches, None)
                except InputError as error:
                    batch, fault = None, error
                if batch is None:
                    break
                waiting.append(pool.submit(_answered, client, build, batch, skip))
                taken = True
            if not waiting:
                break
            taken = False
            yield waiting.popleft().result()
        if fault is not None:
            raise fault
        done = True
    finally:
        if not done:
            client.close()
        pool.shutdown(cancel_futures=True)


def in_batches(inputs: Iterable[Input], most: int) -> Iterator[Sequence[Input]]:
    """Runs of inputs, of which `most` at most are not empty."""
    batch: list[Input] = []
    texts = 0
    for each in inputs:
        if texts == most and not each.empty:
            yield batch
            batch, texts = [], 0
        batch.append(each)
        texts += not each.empty
    if batch:
        yield batch


def _answered(client: Client, build: Callable[[Sequence[Input]], Request], batch: Sequence[Input], skip: bool) -> Batch:
    asked = [each for each in batch if not each.empty]
    answers = iter(_ask(client, build, asked, skip))
    return [(each, None if each.empty else next(answers)) for each in batch]


def _ask(
    client: Client, build: Callable[[Sequence[Input]], Request], asked: Sequence[Input], skip: bool
) -> list[Answered | Refusal]:
    if not asked:
        return []
    try:
        return [answered(result) for result in client.ask(build(asked)).results]
    except ServerError as error:
        if error.code not in MAY_BE_OF_ONE_INPUT:
            raise Refused(None, error) from error
        if len(asked) == 1:
            if skip and error.code in OF_ONE_INPUT:
                return [Refusal(error.code, str(error))]
            raise Refused(asked[0].place, error) from error
    half = len(asked) // 2
    return [*_ask(client, build, asked[:half], skip), *_ask(client, build, asked[half:], skip)]


def answered(result: pb.Result) -> Answered:
    """A server's result."""
    return Answered(
        result.text,
        result.generated_tokens,
        result.score if result.HasField("score") else None,
        result.unknown_tokens,
        result.seed if result.HasField("seed") else None,
        tuple(_output(each) for each in result.sequences),
    )


def _output(output: pb.Output) -> Answered:
    return Answered(output.text, output.generated_tokens, output.score if output.HasField("score") else None)
