"""The one exception for mistakes a user can mend."""


class UserError(ValueError):
    """A mistake of input or setup: the message names the file or argument and the fix.

    The command line prints the message alone, without a traceback.
    """
