"""What a person did wrong, said in one line."""


class UserError(Exception):
    """Bad input. The command line prints the message, one clear line, and exits with status 2."""
