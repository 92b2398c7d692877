"""What differs between runs that are done: in configuration, in outcome, and along the way.

`choice` finds the runs that words name, `sides` says what tells them apart, `courses` lays their curves over each
other, `compared` makes sentences, tables, a picture and a page of it, and `command` is what is typed.
"""
