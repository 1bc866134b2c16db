import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from compress.model.teacher import load_teacher
from compress.model.told import Told
from compress.model.vocabulary import extend_positions, sinusoidal_positions, train_tokenizer, transferred, use_vocabulary

TEXTS = ["ab cab abba", "cab ab ab", "cabbage bag"] * 4


@pytest.fixture
def mbart(teachers: dict[str, str]):
    name = teachers["mbart50"]
    return AutoModelForSeq2SeqLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)


def test_a_new_token_is_the_mean_of_the_old_ones_that_spell_it(mbart) -> None:
    model, old = mbart
    new = train_tokenizer(TEXTS, 300, 64)
    embedding = model.get_input_embeddings().weight.detach()
    table = transferred(embedding, old, new, 0.02)
    letters = old.convert_tokens_to_ids(["a", "b"])
    word_start = old.convert_tokens_to_ids("▁")
    ab = new.convert_tokens_to_ids("Ġab")
    assert ab != new.unk_token_id
    torch.testing.assert_close(table[ab], embedding[[word_start, *letters]].mean(0))
    inside = new.convert_tokens_to_ids("ab")
    torch.testing.assert_close(table[inside], embedding[letters].mean(0))
    torch.testing.assert_close(table[new.eos_token_id], embedding[old.eos_token_id])


def test_the_model_goes_on_in_the_new_vocabulary(mbart, tmp_path) -> None:
    model, old = mbart
    new = train_tokenizer(TEXTS, 300, 64)
    use_vocabulary(model, old, new)
    model.save_pretrained(tmp_path)
    new.save_pretrained(tmp_path)
    teacher = load_teacher(str(tmp_path), Told("summarization"))
    assert teacher.architecture.vocab_size == len(new)
    card = teacher.text_format.card
    assert (card.source_prefix, card.source_suffix, card.decoder_start) == (("<s>",), ("</s>",), "</s>")
    inputs = new("ab cab", return_tensors="pt")
    generated = teacher.model.generate(**inputs, max_length=8, num_beams=2)
    assert generated[0, :2].tolist() == [new.eos_token_id, new.bos_token_id]


@pytest.mark.parametrize("positions", [100, 20])
def test_new_positions_repeat_the_old(mbart, positions: int) -> None:
    model, _ = mbart
    before = model.model.encoder.embed_positions.weight.detach().clone()
    extend_positions(model, positions)
    after = model.model.encoder.embed_positions.weight
    assert after.shape[0] == positions + 2
    kept = min(positions, 64)
    assert torch.equal(after[: 2 + kept], before[: 2 + kept])
    if positions > 64:
        assert torch.equal(after[2 + 64 :], before[2 + 6 : 2 + 6 + 36])
    assert model.config.max_position_embeddings == positions
    source = torch.full((1, positions), 5)
    assert model(input_ids=source, decoder_input_ids=source).logits.shape[1] == positions


def test_sinusoidal_positions_are_the_same_rotation_apart_everywhere(mbart) -> None:
    model, _ = mbart
    extend_positions(model, 100)
    sinusoidal_positions(model)
    spread = model.get_input_embeddings().weight.std() * (model.config.d_model**0.5 if model.config.scale_embedding else 1)
    for stack in (model.model.encoder, model.model.decoder):
        table = stack.embed_positions.weight.detach()
        assert table.shape[0] == 102
        torch.testing.assert_close(table.std(), spread / 2)
        distances = [(table[apart:] - table[:-apart]).norm(dim=1) for apart in (1, 7)]
        for each in distances:
            torch.testing.assert_close(each, each[:1].expand_as(each))
        assert distances[1][0] > 2 * distances[0][0]
