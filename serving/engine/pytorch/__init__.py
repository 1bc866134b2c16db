"""The runner in plain PyTorch operations: the reference of every faster one, and what runs where none is faster."""
