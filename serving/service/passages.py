"""The passages of a context to windows: as many whole ones in each as it has room for, in their order.

A passage that is longer than a window is split as any long text is, and its parts share a window with no other passage.
"""

from __future__ import annotations

from collections.abc import Sequence

from serving.service.windows import TokenStarts, split


def passage_windows(
    passages: Sequence[str], separator: str, language: str, room: int, token_starts: TokenStarts
) -> list[tuple[str, ...]]:
    """What each window has of the passages: several whole ones, or a part of one.

    A window has at most `room` tokens, its separators counted with them, as far as tokens can be counted apart (see
    `windows.split`). `language` is an ISO 639 code.
    """
    windows: list[tuple[str, ...]] = []
    group: list[str] = []
    used = 0
    between = len(token_starts(separator))
    for passage in passages:
        tokens = len(token_starts(passage))
        if group and used + between + tokens > room:
            windows.append(tuple(group))
            group = []
        if tokens > room:
            windows += [(part,) for part in split(passage, language, room, token_starts)]
        else:
            used = used + between + tokens if group else tokens
            group.append(passage)
    return [*windows, tuple(group)] if group else windows
