"""Texts to batches of token ids: files and hub data sets, the text format, noise for denoising."""
