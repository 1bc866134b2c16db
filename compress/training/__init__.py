"""The loop, its losses and its state; what a run shows while it goes."""
