"""Whether a packed model can be scored as asked: by its task, in a direction that it has."""

from __future__ import annotations

from quant.card import Card, Task


def asked_fault(name: str, card: Card, task: Task | None, languages: tuple[str, ...]) -> str | None:
    """What cannot be, with what is accepted; `languages` are the codes of a source and a target, or none."""
    if task not in (None, card.task):
        return f"--task is {task}, but {name} was made for {card.task}"
    if languages in (card.language_pairs or ((),)):
        return None
    if not card.language_pairs:
        return f"{name} is a model of one language: leave out --source-language and --target-language"
    pairs = [f"--source-language {source} --target-language {target}" for source, target in card.language_pairs]
    given = " to ".join(languages) if len(languages) == 2 else "one language" if languages else "neither"
    return f"{name} needs {' or '.join(pairs)}; {given} is given"
