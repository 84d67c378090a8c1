"""User space: programs that use the processor to get tasks done. Nothing is here yet.

The router, the manager, workers, verifiers and what joins them belong here. They act by system calls alone and know
neither the engine nor the journal.
"""
