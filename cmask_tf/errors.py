"""The one exception that a user of the command line ever sees."""


class UserError(Exception):
    """Wrong input, told in one line: the file, the record and what was expected.

    The command line prints it and exits with code 2; Python callers may catch it.
    """
