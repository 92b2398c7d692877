"""A training watched from its own loop: `Watch` orders looks, each look is a function of a `Moment`.

    watch = calclab.Watch(model, criterion, optimizer)     watch.py: what is due is looked at, kept, logged, told
    watch.step(batch)                                      schedule.py: what is due, within a budget
        Moment                                             moment.py: a training after a step; Reading, Event, Look
        objective.py steps.py untouched.py                 its loss as a function; what the optimizer did; put back
        norms.py noise.py ...                              looks
        kept.py logs.py folder.py                          kept in memory; where it goes; a folder of the lab's
        summary.py                                         what it comes to
    given.py                                               what it is made of, held to what it can be

A look is an object with ``name``, ``cost`` (in training steps, a guess until it is measured) and
``take(moment) -> [Reading | Evidence | Event]``; a line of ``given.LOOKS`` gives it its name in ``quantities``.
"""
