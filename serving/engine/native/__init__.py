"""The runner over native kernels: packed weights read as they are, integer products by AVX-512 VNNI or AVX2.

    kernels/    C++ without dependencies; built with the package where there is a compiler, left out where there is none
    team        the threads that they share their work with
    library     the built kernels, for the best instruction set that this CPU has
    linear      packed linear layers and embeddings
    layers      encoder and decoder layers over them
    caches      keys and values of the requests in the batch
    batch       the rows of the batch as the kernels read them
    runner      all of it behind the protocol of serving/engine/runner.py

Softmax and normalization are computed as PyTorch does it; activation functions are its own operations, a few microseconds
each. So every bit is that of the reference runner. Kernels share their work with a team of threads of their own, which waits
for nobody; PyTorch's operations are done by the caller alone.
"""
