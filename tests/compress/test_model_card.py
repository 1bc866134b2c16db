import json
import shutil
from pathlib import Path

from compress.model_card import write_model_card

SHIPPED = Path(__file__).parents[2] / "models" / "mbart-de-en-2-4-8"


def test_every_signature_of_a_score_is_there(tmp_path: Path) -> None:
    """Directions are cut differently: into 13a's words one way, into Chinese characters the other."""
    folder = tmp_path / SHIPPED.name
    shutil.copytree(SHIPPED, folder)
    records = json.loads((SHIPPED / "evaluation.json").read_text())["evaluations"][:2]
    records[1]["signatures"] = {**records[0]["signatures"], "BLEU": "nrefs:1|tok:zh"}
    (folder / "evaluation.json").write_text(json.dumps({"evaluations": records}))
    write_model_card(folder)
    lines = (folder / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("BLEU: ")] == [
        f"BLEU: `{records[0]['signatures']['BLEU']}`",
        "BLEU: `nrefs:1|tok:zh`",
    ]
    assert sum(line.startswith("chrF: ") for line in lines) == 1
