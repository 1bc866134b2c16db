"""Exported folders, read by what they are written for."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from compress.data.text_format import Example
from compress.model.export import export_transformers
from compress.model.export_int8 import export_int8
from compress.model.packed_student import dequantized_student, load_student
from compress.model.student import build_student
from compress.model.teacher import load_teacher
from compress.model.told import Told
from compress.scoring.decoding import DecodingSettings, generate
from quant.artifact import Artifact, read_artifact, write_artifact
from quant.scheme import Layers, Scheme
from quant.structure import Structure

SHIPPED = Path(__file__).parents[3] / "models" / "mbart-de-en-2-4-8"
DIRECTION = ("de_DE", "en_XX")


def artifact_of(teacher_folder: str, folder: Path, languages: tuple[str, ...] = (), scheme: str = "2-4-8") -> Artifact:
    teacher = load_teacher(teacher_folder, Told("translation" if languages else "summarization", languages))
    student = build_student(teacher.model, Layers(1, 2))
    config = {key: value for key, value in student.config.to_dict().items() if value is not None}
    generation = student.generation_config.to_diff_dict()
    card = teacher.text_format.card
    write_artifact(folder, student.state_dict(), config, generation, Scheme.parse(scheme), teacher.digest, card)
    teacher.text_format.tokenizer.save_pretrained(folder)
    return read_artifact(folder)


def as_dqbart_decodes(artifact: Artifact, text: str, languages: tuple[str, ...]) -> str:
    _, text_format, _ = load_student(artifact.path)
    model = dequantized_student(artifact)
    model.generation_config.update(**artifact.generation_config)
    example = Example({"source": text}, "a", *languages)
    return generate(model, text_format, [example], text_format.encode([example], 16), DecodingSettings(), 512)[0]


@pytest.mark.parametrize(("name", "languages"), [("bart", ()), ("mbart50", DIRECTION), ("mbart-cc25", DIRECTION)])
def test_a_plain_folder_generates_by_itself_what_we_generate(
    teachers: dict[str, str], tmp_path: Path, name: str, languages: tuple[str, ...]
) -> None:
    artifact = artifact_of(teachers[name], tmp_path / "artifact", languages)
    (tmp_path / "plain").mkdir()
    export_transformers(artifact, tmp_path / "plain", "float32")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert not {"quantization_config", "dqbart"} & config.keys()
    model, tokenizer = (each.from_pretrained(tmp_path / "plain") for each in (AutoModelForSeq2SeqLM, AutoTokenizer))
    text = "der hund"
    outputs = model.generate(**tokenizer(text, return_tensors="pt"))
    assert tokenizer.decode(outputs[0], skip_special_tokens=True).strip() == as_dqbart_decodes(artifact, text, languages)


def test_the_readme_gives_what_a_request_must_say(tmp_path: Path) -> None:
    export_transformers(read_artifact(SHIPPED), tmp_path, "float16")
    readme = (tmp_path / "README.md").read_text()
    assert 'tokenizer.src_lang = "de_DE"' in readme
    assert 'forced_bos_token_id=tokenizer.convert_tokens_to_ids("en_XX")' in readme
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert model.dtype == torch.float16
    expected = dequantized_student(read_artifact(SHIPPED)).state_dict()
    assert all(torch.equal(value, expected[name].half()) for name, value in model.state_dict().items())


def test_ctranslate2_converts_a_plain_folder_and_translates_with_it(tmp_path: Path) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2", reason="ctranslate2 is of the extra dqbart[bench]")
    from ctranslate2.converters import TransformersConverter

    plain = tmp_path / "plain"
    plain.mkdir()
    export_transformers(read_artifact(SHIPPED), plain, "float32")
    TransformersConverter(str(plain)).convert(str(tmp_path / "converted"), quantization="float32")
    tokenizer = AutoTokenizer.from_pretrained(plain, src_lang="de_DE", tgt_lang="en_XX")
    source = tokenizer.convert_ids_to_tokens(tokenizer("Ich habe keine Zeit.")["input_ids"])
    translator = ctranslate2.Translator(str(tmp_path / "converted"), device="cpu", intra_threads=1)
    (result,) = translator.translate_batch([source], target_prefix=[["en_XX"]], beam_size=4)
    ids = tokenizer.convert_tokens_to_ids(result.hypotheses[0])
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "I don't have time."


@pytest.mark.parametrize("scheme", ["2-8-8", "4-2-8/matrix"])
def test_int8_codes_times_scales_are_the_artifacts_values(teachers: dict[str, str], tmp_path: Path, scheme: str) -> None:
    from safetensors.torch import load_file

    artifact = artifact_of(teachers["bart"], tmp_path / "artifact", scheme=scheme)
    (tmp_path / "int8").mkdir()
    export_int8(artifact, tmp_path / "int8")
    tensors = load_file(tmp_path / "int8" / "model.safetensors")
    expected = dequantized_student(artifact).state_dict()
    for name, tensor in tensors.items():
        if scale := name.endswith("_scale"):
            assert (tensor.dtype, tensor.shape[1]) == (torch.float32, 1)
        elif (scale := tensors.get(f"{name}_scale")) is not None:
            assert tensor.dtype == torch.int8
            assert torch.equal(tensor * scale, expected[name])
        else:
            assert torch.equal(tensor, expected[name])
    assert {name.removesuffix("_scale") for name in tensors} == {*artifact.tensors}


def test_transformers_reads_an_int8_folder_to_the_same_values(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is of the extra dqbart[dev]")
    artifact = read_artifact(SHIPPED)
    export_int8(artifact, tmp_path)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    expected = dequantized_student(artifact).state_dict()
    values = model.state_dict()
    assert values.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in values.items())


@pytest.mark.parametrize("export", [lambda *given: export_transformers(*given, "float32"), export_int8])
def test_removed_heads_are_zeros_in_stock_shapes(teachers: dict[str, str], tmp_path: Path, export) -> None:
    from safetensors.torch import load_file

    teacher = load_teacher(teachers["bart"], Told("summarization"))
    name = "model.encoder.layers.0.self_attn"
    weights = teacher.model.state_dict()
    for projection in ("q_proj", "k_proj", "v_proj"):
        weights |= {
            f"{name}.{projection}.{kind}": weights[f"{name}.{projection}.{kind}"][:16] for kind in ("weight", "bias")
        }
    weights[f"{name}.out_proj.weight"] = weights[f"{name}.out_proj.weight"][:, :16].contiguous()
    config = {key: value for key, value in teacher.model.config.to_dict().items() if value is not None}
    structure = Structure(heads={"encoder.layers.0.self_attn": 1})
    given = (weights, config, {}, Scheme(8, 8, 8), teacher.digest, teacher.text_format.card, structure)
    write_artifact(tmp_path / "artifact", *given)
    teacher.text_format.tokenizer.save_pretrained(tmp_path / "artifact")
    (tmp_path / "exported").mkdir()
    export(read_artifact(tmp_path / "artifact"), tmp_path / "exported")
    tensors = load_file(tmp_path / "exported" / "model.safetensors")
    query, out = tensors[f"{name}.q_proj.weight"], tensors[f"{name}.out_proj.weight"]
    assert query.shape == out.shape == (32, 32)
    assert query[:16].any()
    assert not query[16:].any()
    assert not out[:, 16:].any()
