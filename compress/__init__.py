"""The offline half: from a checkpoint, or none, to a teacher, and from a teacher to a packed low-bit student.

data         files or hub data sets to token ids; length-grouped batches; noise for denoising
model        teachers; students of fewer layers, quantized; an artifact as a stock model again
training     the loop: losses, schedule, validation, best checkpoint, resume; what it shows
scoring      generate over a data set; ROUGE, BLEU and chrF; where scores are kept
compression  one run, from teacher to artifact
model_card   README.md of an artifact
finetuning   one run, from checkpoint to teacher
commands     flags of each command; the run_* modules do the work
"""
