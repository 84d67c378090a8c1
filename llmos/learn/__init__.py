"""From traces to microcode: how llmos gets better at its own jobs. Nothing is here yet.

Training data, training of adapters, their evaluation and installation belong here. Running an adapter does not: that is
`llmos.engine`.
"""
