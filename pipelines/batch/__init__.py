"""`dqbart batch`: a model over every row of files and data sets, by Ray Data.

    files ─► parts of some rows ─► actors with an engine each ─► a file for each part, in the order of the input

A part is read, answered and written by one actor, whole or not at all. So a run that was killed, or that lost a machine,
goes on with the parts that have no file yet, and every row is there once. Ray Data hands out the parts and keeps the
actors; the rows themselves do not pass through it.
"""
