"""Calibration: a student without training, block by block, from the teacher's outputs for unlabelled texts.

    teacher  ──► layer ──► layer ──► …        two streams of states go forward together; before a layer of the student is
    student  ──► layer ──► layer ──► …        passed, its matrices are fitted to what the teacher computes there

The student's states are those of the already quantized part, by the arithmetic of evaluation, so that each layer makes good
what those before it lost.
"""
