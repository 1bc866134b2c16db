"""A stack of the student, fitted layer by layer to the teacher's.

A layer of the student may stand for several of the teacher's: from the one that it was copied from to the one before the
next that was kept. What its last block adds is then fitted to the teacher's states at the end of them all, so that it makes
good what the dropped layers did. Everything else is fitted to what the layer that it was copied from computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compress.calibration.fitting import Inputs, fit
from compress.calibration.regression import Moments
from compress.calibration.saved import Saved
from compress.calibration.sites import Site
from compress.calibration.streams import Stack
from compress.data.batches import Batch
from compress.model.quantized_modules import forget_evaluated
from quant.layout import block_of

Memory = Sequence[Tensor | None]
"""Of each batch: the encoder's output, where there is one to read."""


@dataclass(frozen=True)
class StackCalibration:
    """What is calibrated with what; `layers` are those of the teacher that the student's were copied from."""

    teacher: Stack
    student: Stack
    layers: Sequence[int]
    batches: Sequence[Batch]
    kept_heads: Mapping[str, Sequence[int]]
    saved: Saved
    advance: Callable[[int], None]
    """Called with 1 for each layer of the student."""

    def run(self, teacher_memory: Memory, student_memory: Memory) -> tuple[list[Tensor], list[Tensor]]:
        """Calibrate the student's layers, in place. Returns what both stacks give at their end, by batch."""
        theirs = [self.teacher.begin(batch) for batch in self.batches]
        ours = [self.student.begin(batch) for batch in self.batches]
        for index in range(self.layers[0]):
            self._pass(self.teacher, index, theirs, teacher_memory)
        ends = [*(layer - 1 for layer in self.layers[1:]), len(self.teacher.layers) - 1]
        for place, (layer, last) in enumerate(zip(self.layers, ends, strict=True)):
            module, name = self.student.layers[place], f"{self.student.part}-{place}"
            if self.saved.restore(name, module):
                for index in range(layer, last + 1):
                    self._pass(self.teacher, index, theirs, teacher_memory)
                self._pass(self.student, place, ours, student_memory)
            else:
                _LayerCalibration(self, place, layer, last, theirs, ours, teacher_memory, student_memory).run()
                self.saved.save(name, module)
            forget_evaluated(module)
            self.advance(1)
        for stack, states, memory in ((self.teacher, theirs, teacher_memory), (self.student, ours, student_memory)):
            for index, batch in enumerate(self.batches):
                states[index] = stack.end(batch, states[index], memory[index])
        return theirs, ours

    def _pass(self, stack: Stack, layer: int, states: list[Tensor], memory: Memory) -> None:
        for index, batch in enumerate(self.batches):
            states[index] = stack.run(layer, batch, states[index], memory[index])


class _LayerCalibration:
    """One layer of the student; both streams go from its beginning to its end, in place."""

    def __init__(
        self,
        of: StackCalibration,
        place: int,
        layer: int,
        last: int,
        theirs: list[Tensor],
        ours: list[Tensor],
        teacher_memory: Memory,
        student_memory: Memory,
    ) -> None:
        """`place` is the student's layer, copied from the teacher's `layer`; it stands for those up to `last`."""
        self._of, self._place, self._layer, self._last = of, place, layer, last
        self._theirs, self._ours = theirs, ours
        self._teacher_memory, self._student_memory = teacher_memory, student_memory
        self._module: Any = of.student.layers[place]
        self._behind: list[Site] = []

    def run(self) -> None:
        sites = self._of.student.sites(self._place, self._of.batches[0], self._ours[0], self._student_memory[0])
        *_, end = sites
        for site in sites:
            if site.writes:
                self._writing(site, site is end)
                self._behind.append(site)
            else:
                self._inner(site)
        if end.norm:
            theirs, ours = self._of.teacher.layers[self._last].get_submodule(end.norm), self._module.get_submodule(end.norm)
            ours.load_state_dict(theirs.state_dict())  # what the sum that it was fitted to is read by
            self._theirs[:] = [theirs(states) for states in self._theirs]
            self._ours[:] = [ours(states) for states in self._ours]

    def _inner(self, site: Site) -> None:
        """A site within its block."""
        modules, kept = self._modules(site), self._kept(site)
        moments = _moments(modules)
        for index, batch in enumerate(self._of.batches):
            inputs = self._of.student.inputs(
                self._place, site, batch, self._ours[index], self._student_memory[index], self._behind
            )
            wanted = self._of.teacher.outputs(
                self._layer, site, batch, self._theirs[index], self._teacher_memory[index], self._behind
            )
            if kept is not None:
                wanted = [each[..., kept] for each in wanted]
            real = self._real(site, batch)
            moments.add(Inputs(modules[0], inputs).values[real], [each[real] for each in wanted])
        for module, regression in zip(modules, moments.regressions(), strict=True):
            fit(module, regression)

    def _writing(self, site: Site, at_end: bool) -> None:
        """A site that adds to the stream: it makes good all that the stream lacks."""
        (module,) = self._modules(site)
        moments = _moments([module])
        kept_inputs = []
        for index, batch in enumerate(self._of.batches):
            given, stream = self._of.student.residual(
                self._place, site, batch, self._ours[index], self._student_memory[index], self._behind
            )
            wanted = self._wanted(site, batch, index, at_end)
            kept_inputs.append(Inputs(module, given))
            real = self._real(site, batch)
            moments.add(kept_inputs[-1].values[real], [(wanted - stream)[real]])
            self._theirs[index], self._ours[index] = wanted, stream
        (regression,) = moments.regressions()
        fit(module, regression)
        for index, inputs in enumerate(kept_inputs):
            self._ours[index] = self._ours[index] + inputs.through(module)

    def _wanted(self, site: Site, batch: Batch, index: int, at_end: bool) -> Tensor:
        """The teacher's stream after a block of the layer, or at the end of all that the layer stands for."""
        teacher, memory = self._of.teacher, self._teacher_memory[index]
        states, behind = self._theirs[index], self._behind
        if not at_end:
            return teacher.sum(self._layer, site, batch, states, memory, behind)
        for layer in range(self._layer, self._last):
            states, behind = teacher.run(layer, batch, states, memory, behind), []
        return teacher.sum(self._last, site, batch, states, memory, behind)

    def _modules(self, site: Site) -> list[Any]:
        return [self._module.get_submodule(name) for name in site.names]

    def _real(self, site: Site, batch: Batch) -> Tensor:
        """Where a site's states are of real tokens, boolean [batch, tokens]."""
        of_source = site.reads_memory or self._of.student.part == "encoder"
        return batch.source_mask if of_source else batch.target_mask

    def _kept(self, site: Site) -> Tensor | None:
        """The teacher's outputs that the layers of a site still have; None where heads are all there."""
        kept = self._of.kept_heads.get(block_of(f"{self._of.student.part}.layers.{self._place}.{site.names[0]}") or "")
        if kept is None:
            return None
        width = self._module.get_submodule(site.names[0]).weight.shape[0] // len(kept)
        return torch.cat([torch.arange(head * width, (head + 1) * width) for head in kept])


def _moments(modules: Sequence[Any]) -> Moments:
    weight = modules[0].weight
    biases = all(module.bias is not None for module in modules)  # without them layers have no constant to give
    return Moments(weight.shape[1], [module.weight.shape[0] for module in modules], weight.device, centred=biases)
