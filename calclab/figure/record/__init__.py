"""From a picture and what was logged to a record of plain numbers, a file each kind: every decision is made here, such
as which axes can be logarithmic, which window, which levels, which bars; what is left out is said in ``note``."""
