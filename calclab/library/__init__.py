"""The lab as a library: subjects, questions, results. What the command line answers, asked from Python."""
