"""Data: each builder takes its knobs and what all are asked for (`finish.Common`), and returns ``core.Data``.

Knobs have no defaults here (they stand in conf/data/). Randomness comes from a generator on the CPU, in float64,
so that every device and dtype sees the same rows.
"""
