"""The one error type for mistakes of the user's. It needs nothing, so that help and checks stay quick."""


class UserError(ValueError):
    """A mistake of the user's. Its text says what was given, what is allowed and what to type instead."""
