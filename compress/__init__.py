"""The offline half: from a fine-tuned teacher checkpoint to a packed low-bit student.

teacher            load a checkpoint, refuse what is not supported, describe its text format as a card
student            fewer layers, copied from maximally spaced teacher layers
quantized_modules  the student's linear layers, embeddings and attention, quantized, swapped into the stock model
dataset, batches   files or hub data sets to token ids; length-grouped batches
losses             task loss and distillation losses, padding left out
training           the loop: schedule, validation, best checkpoint, resume
packed_student     an artifact as a stock model again
decoding, metrics  generate over a data set; ROUGE, BLEU and chrF
evaluation         both kinds of model scored alike; evaluation_file keeps the scores
compression        one run, from teacher to artifact; progress is what it shows
model_card         README.md of an artifact
commands           flags of `dqbart compress | evaluate | inspect`; the *_command modules run them
"""
