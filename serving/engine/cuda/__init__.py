"""A runner for NVIDIA GPUs. It has not run on one: the same code is tested on the CPU, where `device` says what differs."""
