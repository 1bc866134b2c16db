"""What the models are asked: texts made for this, as long as those that each model was trained on.

The translator gets the sentences of `bench service`. An abstract is three to eight sentences, a passage four to sixteen,
drawn with a seed from sentences that were written for this; what they say does not matter, their lengths and the models' do.
"""

from __future__ import annotations

import json
import random
from typing import Any, NamedTuple

from benchmarks.service.works import PATHS, SENTENCES
from quant.card import Card, Task

COUNT = 48
"""Texts of a sample."""
SEED = 7

OF_ABSTRACTS = (
    "We present a method for parsing sentences of languages for which there are few annotated texts.",
    "Most earlier work on this problem assumes that large amounts of labelled data are available, which is rarely the case.",
    "Our model learns word representations from unlabelled text and shares its parameters across languages.",
    "Experiments on nine languages show that it is more accurate than three strong baselines.",
    "We describe a corpus of dialogues between patients and nurses, with annotations of intents and entities.",
    "The annotation was done by two experts, who agreed in nine cases of ten.",
    "We also analyse the errors of the system, and find that most of them concern rare words and long dependencies.",
    "This paper reports on our submission to the shared task on machine translation of news.",
    "We fine-tune a pretrained encoder and decoder on parallel sentences that were filtered by their similarity.",
    "An ablation shows that filtering matters more than the size of the model.",
    "The approach needs no external resources and can be trained on a single machine in a few hours.",
    "We propose to treat summarization as a sequence of edits, each of which removes or replaces a phrase.",
    "Human judges prefer our summaries to those of the baseline, above all for their faithfulness to the document.",
    "Code, data and trained models are available to the public.",
    "A question that has received little attention is how such models behave when the topic of a conversation changes.",
    "We hope that these findings help others to build systems that are robust and that fail in ways that can be understood.",
)

OF_PASSAGES = (
    "Anaemia is a condition in which the blood has fewer red cells than it should, or too little of what carries oxygen.",
    "People who have it are often tired, pale and short of breath, and may feel cold or dizzy.",
    "The most common cause is a lack of iron, which the body needs to make new red cells.",
    "Other causes are loss of blood, certain infections, and diseases of the kidneys or of the bone marrow.",
    "A doctor finds it with a simple blood test, and may ask for others to learn what lies behind it.",
    "Treatment depends on the cause: iron tablets, vitamins, other medicines, or in severe cases a transfusion.",
    "Most people feel better within a few weeks, but should take the tablets for some months longer.",
    "Meat, fish, beans, lentils and leafy vegetables are good sources of iron.",
    "Tea and coffee with a meal make it harder for the body to take up iron, and fruit with vitamin C makes it easier.",
    "Pregnant women and small children need more iron than others.",
    "The condition is inherited in some families, in which case several members may have it from birth.",
    "Once upon a time an old miller lived with his three sons at the edge of a great forest.",
    "The eldest was strong, the second was clever, and the youngest was kind to every animal that he met.",
    "One winter the mill stood still, for the stream had frozen and nobody knew how to wake it.",
    "Then a grey hare came to the door and said that it would help whoever shared his bread.",
    "The youngest son gave it half of what he had, and by the morning the wheel was turning again.",
    "When the king heard of it he sent for the boy and asked him what he wished for.",
    "He asked for nothing but a warm place for the hare, and so both of them stayed at the court until they were old.",
)

QUESTIONS = (
    "What is anaemia?",
    "What are the symptoms of anaemia?",
    "What causes anaemia?",
    "How is it diagnosed?",
    "What are the treatments for anaemia?",
    "Who helped the youngest son?",
    "Why did the mill stand still?",
    "What did the boy ask the king for?",
)


class Asked(NamedTuple):
    """Requests of one text each to one model, with its defaults."""

    model: str
    task: Task
    inputs: tuple[dict[str, str], ...]
    """By the names in the card's template."""
    languages: tuple[str, str] | None

    @property
    def path(self) -> str:
        """Of HTTP."""
        return PATHS[self.task][0]

    def over_http(self) -> tuple[bytes, ...]:
        """Bodies."""
        shared: dict[str, Any] = {"model": self.model}
        if self.languages is not None:
            shared |= {"source_language": self.languages[0], "target_language": self.languages[1]}
        # The one text of translations and summaries is `text` in a body.
        named = ({name.replace("source", "text"): text for name, text in each.items()} for each in self.inputs)
        return tuple(json.dumps({**shared, **each}).encode() for each in named)


def asked_of(model: str, card: Card, count: int = COUNT) -> Asked:
    """The sample for a model; always the same."""
    draw = random.Random(SEED)
    match card.task:
        case "translation":
            inputs = [{"source": SENTENCES[place % len(SENTENCES)]} for place in range(count)]
        case "summarization":
            inputs = [{"source": _run(draw, OF_ABSTRACTS, 3, 8)} for _ in range(count)]
        case _:
            inputs = [{"question": draw.choice(QUESTIONS), "context": _run(draw, OF_PASSAGES, 4, 16)} for _ in range(count)]
    pairs = card.language_pairs
    return Asked(model, card.task, tuple(inputs), pairs[0] if pairs else None)


def _run(draw: random.Random, sentences: tuple[str, ...], least: int, most: int) -> str:
    """Some sentences that follow each other, from anywhere on."""
    start, count = draw.randrange(len(sentences)), draw.randint(least, most)
    return " ".join(sentences[(start + place) % len(sentences)] for place in range(count))
