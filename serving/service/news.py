"""What a streamed request tells while it is answered, from those who answer its inputs to the one who reads its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any

from serving.service.results import InputResult, Result, TextDelta

Tell = Callable[[str], None]
"""Takes what an output is longer by."""


class News:
    """What was told of each input and is not read yet; used on one event loop."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._results: dict[int, Result] = {}
        self._changed = asyncio.Event()

    def tell(self, place: int, text: str) -> None:
        """The output for an input is longer by `text`."""
        if text:
            self._texts[place] = self._texts.get(place, "") + text
            self._changed.set()

    def end(self, place: int, result: Result) -> None:
        """An input has its result."""
        self._results[place] = result
        self._changed.set()

    def wake(self) -> None:
        """Let the reader look, though there is nothing new."""
        self._changed.set()

    async def changed(self) -> None:
        """Wait until there is something to look at."""
        await self._changed.wait()
        self._changed.clear()

    def take(self, model: str) -> list[TextDelta | InputResult]:
        """All that is new, of each input its text in one, then its result."""
        texts, self._texts = self._texts, {}
        results, self._results = self._results, {}
        deltas = [TextDelta(model=model, input=place, text=text) for place, text in texts.items()]
        return [*deltas, *(InputResult(model=model, input=place, result=result) for place, result in results.items())]


async def told(model: str, work: Callable[[News], Coroutine[Any, Any, None]]) -> AsyncGenerator[TextDelta | InputResult]:
    """The events of work that goes on beside their reader. What it raises is raised at once, unread news is dropped then.

    Leaving the generator cancels the work, and waits for its end.
    """
    news = News()
    # A task of its own: a timeout in it must not reach a reader who is busy with an event.
    task = asyncio.ensure_future(work(news))
    task.add_done_callback(lambda _: news.wake())
    try:
        done = False
        while not done:
            await news.changed()
            if done := task.done():
                task.result()
            for event in news.take(model):
                yield event
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class InOrder:
    """Texts of windows that are answered side by side, told one window after the other."""

    def __init__(self, before: Sequence[str], after: str, tell: Tell) -> None:
        """`before`: what stands before each window's text; `after`: what stands behind the last."""
        self._between = [*before, after]
        self._waiting = ["" for _ in before]
        self._ended = [False for _ in before]
        self._current = 0
        self._before = self._between[0]
        self._tell = tell

    def tell(self, window: int, text: str) -> None:
        """The text of a window is longer by `text`."""
        self._waiting[window] += text
        self._flush()

    def end(self, window: int) -> None:
        """The text of a window is complete."""
        self._ended[window] = True
        self._flush()

    def _flush(self) -> None:
        while self._current < len(self._waiting):
            ended = self._ended[self._current]
            if (text := self._waiting[self._current]) or ended:
                self._tell(self._before + text)
                self._waiting[self._current] = self._before = ""
            if not ended:
                return
            self._current += 1
            self._before = self._between[self._current]
        self._tell(self._before)
        self._before = ""
