"""What can end a command early, said in one line."""


class UserError(Exception):
    """Bad input. The command line prints the message, one clear line, and exits with status 2."""


class SharedError(UserError):
    """A UserError that all processes raise at the same time; the first one's command prints it."""


class DivergedError(Exception):
    """A training that met too many bad steps in a row. The command line exits with status 1."""
