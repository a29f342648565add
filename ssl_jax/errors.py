"""The one error a user is meant to read."""


class UserError(Exception):
    """Something the user can fix. The command line prints its message alone and exits with 2.

    The message says the cause, the value and the remedy, e.g.
    `batch_size=100 is not divisible by the 8 devices on axes data x fsdp; use 96 or 104`.
    """
