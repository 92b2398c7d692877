"""What differs between runs that are done: in configuration, in outcome, and along the way.

`choice` finds the runs that words name, `sides` says what tells them apart, `courses` lays their curves over each
other; `command` shows it all in the terminal, as a picture and as a page.
"""
