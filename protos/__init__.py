"""The gRPC interface: `dqbart/v1/seq2seq.proto` and the Python stubs generated from it."""
