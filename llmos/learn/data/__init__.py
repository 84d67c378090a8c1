"""Examples of the kernel's own jobs, made by programs from pools of words: deterministic by seed.

Each module makes the examples of some jobs, in groups ("sheets") that share the beginning of what the model reads, as
they do in use. Training, validation and test differ in templates, values and tools.
"""
