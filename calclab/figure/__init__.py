"""Pictures: `record` turns columns into small frozen records of what is to be seen, `draw` records into figures;
`kinds` has every kind.
"""
