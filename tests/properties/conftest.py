"""No deadline: a busy machine is no counterexample. A failure prints what repeats it.

In CI the same examples are drawn each time, so that a change is judged by what it changed.
"""

import os

from hypothesis import settings

settings.register_profile(
    "steady", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("steady")
