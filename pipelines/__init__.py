"""Work that needs both halves: a sweep compresses, evaluates and times students; pseudo-labels come out of the engine; a
batch reads data as training does, and answers as a server does.

`compress` and `serving` never import each other; this package imports both, and nobody imports it but the command line.
"""
