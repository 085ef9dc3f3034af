"""What strategies of hypothesis have in common."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from hypothesis import strategies as st


def one_of_each(*choices: Sequence[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return tuples of one from each, as likely as if each was drawn on its own.

    It is one draw, of which Hypothesis makes a few tens of thousands a second.
    """
    return st.sampled_from(list(product(*choices)))
