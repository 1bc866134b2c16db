"""The offline half: from a fine-tuned teacher checkpoint to a packed low-bit student.

teacher            load a checkpoint, refuse what is not supported, describe its text format as a card
student            fewer layers, copied from maximally spaced teacher layers
quantized_modules  the student's linear layers, embeddings and attention, quantized, swapped into the stock model
dataset, batches   files or hub data sets to token ids; length-grouped batches
losses             task loss and distillation losses, padding left out
training           the loop: schedule, validation, best checkpoint, resume
decoding, metrics  generate over a data set; ROUGE, BLEU and chrF
model_card         README.md of an artifact
settings, commands flags of `dqbart compress | evaluate | inspect`, and what they do
"""
