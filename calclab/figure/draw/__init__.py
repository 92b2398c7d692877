"""From records to matplotlib figures, a file each kind; nothing is decided here but how it looks."""
