"""Short documents about invented things: what passages are made of, and texts to take fields out of.

`values` makes values, `topics` documents. Knows no job.
"""
