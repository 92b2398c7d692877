"""Laws: statements that a quantity has this value, over settings, each measured beside what theory says.

A law is a small scan about a subject (see `Law`): setting k gives, for each of its ``quantities`` q, the value measured
q, what theory says q_theory, and q_error, the standard error of what chance has a part in. `topic=law` carries it. The
mathematics lies in the engines (numerics, optimizer); here it is asked at the settings of a claim.
"""

from calclab.laws.base import Law

__all__ = ["Law"]
