"""A student in a folder: the artifact that it is packed as, or in full precision a plain checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from compress.manifest import Manifest, write_manifest
from compress.model.embeddings import save_checkpoint
from compress.model.quantized_modules import packable_weights
from compress.model.servable import check_servable
from compress.model.student import StudentError
from compress.model.teacher import Teacher
from compress.model_card import write_model_card
from compress.scoring.decoding import DecodingSettings
from quant.artifact import write_artifact
from quant.checking import card_faults, weight_faults
from quant.evaluation_file import EVALUATION_FILE
from quant.layout import Architecture, model_layout
from quant.scheme import Scheme
from quant.structure import Structure
from quant.whole_files import whole_files


@dataclass(frozen=True)
class Packing:
    """Writes a student, whose weights change from one time to the next."""

    student: PreTrainedModel
    teacher: Teacher
    scheme: Scheme | None
    """None: in full precision."""
    decoding: DecodingSettings

    def check(self) -> None:
        """That the student can be packed and served, before anything is computed. Raises CompressError, ArtifactError."""
        self.decoding.over(self.student)
        if self.scheme is None:
            return
        check_servable(self.teacher.text_format, self.teacher.architecture.vocab_size)
        architecture = Architecture.from_config(self.student.config.to_dict())
        layout = list(model_layout(architecture, self.scheme))
        faults = weight_faults(architecture, layout, packable_weights(self.student))
        if faults := faults + card_faults(self.teacher.text_format.card, architecture):
            raise StudentError(f"teacher {self.teacher.name} cannot be packed: {'; '.join(faults)}")

    def keep(self, folder: Path, structure: Structure, manifest: Manifest) -> None:
        """Write the student with its manifest and card. Scores of what was there go."""
        (folder / EVALUATION_FILE).unlink(missing_ok=True)
        if self.scheme is None:
            self.student.generation_config = self.decoding.resolved(self.student, self.teacher.text_format)
            with whole_files(folder) as partial:
                save_checkpoint(self.student, partial)
                self.teacher.text_format.tokenizer.save_pretrained(partial)
            write_manifest(folder, manifest)
            return
        self.write_artifact(folder, structure)
        write_manifest(folder, manifest)
        write_model_card(folder)

    def write_artifact(self, folder: Path, structure: Structure) -> None:
        """Weights, settings, card and tokenizer, of a student that is quantized."""
        assert self.scheme is not None, "quantized"
        generation = self.decoding.recorded(self.student, self.teacher.text_format)
        config = {key: value for key, value in self.student.config.to_dict().items() if value is not None}
        config.pop("_name_or_path", None)  # where the teacher lay on this machine
        weights, card = packable_weights(self.student), self.teacher.text_format.card
        write_artifact(folder, weights, config, generation, self.scheme, self.teacher.digest, card, structure)
        self.teacher.text_format.tokenizer.save_pretrained(folder)
