"""The engine: token ids in, token ids out, from packed weights. No tokenizer, text or transport below this folder."""
