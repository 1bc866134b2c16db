"""A request on its way through an engine, once or, where it has to give way, again from its beginning."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

from serving.engine.request import Request, Result
from serving.engine.runner import Runner, Source, Wanted
from serving.engine.scheduler import Claim
from serving.engine.search import Search, rows_of, search_for


@dataclass
class Generation:
    """What is known of one request; what has a default is filled by the engine as it goes.

    Begun again it comes to the same tokens, for these depend on the request alone; those that were told are not told twice.
    """

    request_id: int
    request: Request
    search: Search
    wanted: Wanted
    source: Source
    room: int
    """Decoder positions that its claim has room for."""
    positions: int = 0
    """Decoder positions that its rows have."""
    departed: bool = False
    submitted: float = field(default_factory=perf_counter)
    encode_started: float = 0.0
    decode_started: float = 0.0
    first_token: float = 0.0
    _settled: int = 0
    """Tokens that its search has settled."""
    _told: int = 0

    @classmethod
    def of(cls, request_id: int, request: Request, runner: Runner) -> Generation:
        """From a checked request, its claim having room for the first positions."""
        parameters = request.parameters
        # The last token generated is not fed again, the start token is.
        source = Source(request.source_ids, rows_of(parameters), parameters.max_new_tokens)
        search = search_for(request, runner.architecture.vocab_size)
        return cls(request_id, request, search, search.wanted(), source, _room(runner, source, 1))

    def begin_again(self, runner: Runner) -> None:
        """Forget what was generated. Its claim will have room for twice what it had reached, so that it seldom has to give
        way again soon."""
        self.search = search_for(self.request, runner.architecture.vocab_size)
        self.wanted = self.search.wanted()
        self.positions = self._settled = 0
        self.room = _room(runner, self.source, 2 * self.room)

    def grow(self, runner: Runner) -> None:
        """Have room for more positions."""
        self.room = _room(runner, self.source, self.room + 1)

    def claim(self, runner: Runner) -> Claim:
        """What it claims for the positions that it is to have room for."""
        return self._claim(runner, self.room)

    def grown(self, runner: Runner) -> Claim:
        """What it will claim in all when it has grown."""
        return self._claim(runner, _room(runner, self.source, self.room + 1))

    def _claim(self, runner: Runner, room: int) -> Claim:
        source, more = self.source, _room(runner, self.source, room + 1)
        claimed, after = (runner.cache_bytes(source, positions) for positions in (room, more))
        return Claim(self.request_id, source.rows, len(source.token_ids), claimed, after - claimed)

    def news(self) -> tuple[int, ...]:
        """Tokens that its search has settled and that were not told before."""
        token_ids = self.search.settled()
        news = token_ids[max(0, self._told - self._settled) :]
        self._settled += len(token_ids)
        self._told = max(self._told, self._settled)
        return news

    def encoding_starts(self, now: float) -> None:
        self.encode_started = self.encode_started or now

    def decoding_starts(self, now: float) -> None:
        self.decode_started = self.decode_started or now

    def result(self) -> Result:
        """Of a finished search. What it did in vain, and waited for after it, counts to its decoding."""
        return Result(
            sequences=self.search.sequences(),
            queue_seconds=self.encode_started - self.submitted,
            encode_seconds=self.decode_started - self.encode_started,
            decode_seconds=perf_counter() - self.decode_started,
            first_token_seconds=self.first_token - self.submitted,
        )


def _room(runner: Runner, source: Source, positions: int) -> int:
    """Positions that a source has room for when it has room for this many, or for all that it may have."""
    page = runner.page_positions
    return min(source.positions, -(-positions // page) * page)
