"""calclab: a lab for the calculus under neural networks. Every number carries its evidence."""

__version__ = "0.1.0"
