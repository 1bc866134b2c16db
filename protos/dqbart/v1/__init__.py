"""Stubs generated from `seq2seq.proto`; see `protos/generate.py`."""
