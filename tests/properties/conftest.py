"""No deadline: a busy machine is no counterexample. A failure prints what repeats it."""

from hypothesis import settings

settings.register_profile("steady", deadline=None, print_blob=True)
settings.load_profile("steady")
