"""Pictures: `panels` turns columns into small frozen records of what is to be seen, `draw` records into PNG bytes."""
