"""Studies: what a named experiment promises, held against what its run found."""
