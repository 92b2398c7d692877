"""Is this derivative right? Derivatives, whoever wrote them, held against values of the function alone.

    program     what is asked about as a map of real numbers (n,) to (m,), its names, and autograd's answers
    slopes      derivatives along directions, measured from values, each with an error
    judgement   one number given against one measured: a verdict
    search      entries, directions and points that are looked at, and where a wrong one is
    cause       what a wrong derivative looks like: a factor, a sign, a transpose, a term left out
    curvature   the same of Hessians: symmetry, Gauss-Newton, an inverse, n times too large
    derivatives, functions, networks     what a user asks; each gives a `result.Check`

The package is not called ``check``, so that ``calclab.check`` can be the question.
"""
