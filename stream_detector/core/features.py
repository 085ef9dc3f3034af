"""What the features of a bundle are called.

Pure. Files and records that name their features are matched by name, in any order, and alerts,
reports and the command line call a feature by its name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

NAME_CHARACTERS_MAX = 200
"""Longest name of a feature: every alert carries some."""

_GENERATED = "feature_"


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a sample, in the order in which the network sees them.

    Parameters
    ----------
    names
        Their names, each different from all others. Length n_features.

    Examples
    --------
    >>> Features.generated(2).names
    ('feature_0', 'feature_1')
    """

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def generated(cls, n_features: int) -> "Features":
        """Return features of data that does not name them."""
        return cls(tuple(f"{_GENERATED}{number}" for number in range(n_features)))

    @property
    def are_named(self) -> bool:
        """Whether the data named them; if not, features are matched by their places."""
        return self.names != self.generated(len(self)).names

    def places_in(self, received: Sequence[str]) -> list[int]:
        """Return where each feature is among names in any order.

        Parameters
        ----------
        received
            Names, each different from all others.

        Raises
        ------
        ValueError
            If one is missing or one is unknown; the message lists both.

        Examples
        --------
        >>> Features(("t", "h")).places_in(["h", "t"])
        [1, 0]
        >>> Features(("t", "h")).places_in(["h", "p", "q"])
        Traceback (most recent call last):
        ValueError: expected the features t, h; missing t, unknown p, q
        """
        places = {name: at for at, name in enumerate(received)}
        missing = [name for name in self.names if name not in places]
        unknown = [name for name in received if name not in self.names]
        if missing or unknown:
            lists = (("missing", missing), ("unknown", unknown))
            found = ", ".join(f"{what} {_shown(names)}" for what, names in lists if names)
            message = f"expected the features {_shown(self.names)}; {found}"
            raise ValueError(message)
        return [places[name] for name in self.names]


def _shown(names: Sequence[str], n_max: int = 10) -> str:
    """Return names as a list, of many the first."""
    more = f" and {len(names) - n_max} more" if len(names) > n_max else ""
    return ", ".join(names[:n_max]) + more
