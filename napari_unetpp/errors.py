"""The error that is the user's to mend."""


class UserError(ValueError):
    """Bad input or a bad setting, told in one sentence.

    The sentence says what was found, what is allowed and what to do. The viewer shows it as a
    notification, the command line prints it and exits with code 2; any other exception is a bug
    and keeps its traceback.
    """
