"""Small networks in plain torch, and what any module needs before it is looked at: weights, loss, training.

A network is built from the shape of one row of the data and the number of outputs; all other arguments are knobs
and have no defaults here (they stand in conf/network/). Each maps (B, *shape) to (B, outputs). All are functions of
their parameters alone: no dropout, no batch statistics, rows never mix.
"""
