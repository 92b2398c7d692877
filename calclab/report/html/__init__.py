"""Pages about runs, sweeps and studies: one HTML file each, made from folders alone, to be mailed and printed."""
