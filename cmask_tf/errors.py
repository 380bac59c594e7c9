"""The exceptions that a user of the command line ever sees."""


class UserError(Exception):
    """Wrong input, told in one line: the file, the record and what was expected.

    The command line prints it and exits with `exit_code`; Python callers may catch it.
    """

    exit_code = 2


class LostHost(UserError):
    """Another host of a training is gone or never came; the same command on all of them goes on."""

    exit_code = 75  # EX_TEMPFAIL: a scheduler can tell "start again" from "wrong input"
