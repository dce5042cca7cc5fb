"""Names of inputs and outputs without what converters put around them, and names for what needs no telling one."""

import itertools
import string
from collections.abc import Collection, Iterator, Sequence

_PREFIX = "serving_default_"


def plain_name(name: str) -> str:
    """Return a tensor's name as the runner calls it (runtimes/_runner.py has the same rule).

    >>> plain_name("serving_default_image:0"), plain_name("image")
    ('image', 'image')
    """
    return name.removeprefix(_PREFIX).split(":")[0]


def plain_names(names: Sequence[str]) -> list[str]:
    """Return tensors' plain names, or their own where several would be called the same, as the runner does.

    >>> plain_names(["image:0", "state:0"]), plain_names(["parts:0", "parts:1"])
    (['image', 'state'], ['parts:0', 'parts:1'])
    """
    plain = [plain_name(name) for name in names]
    return plain if len(set(plain)) == len(plain) else list(names)


def letters(taken: Collection[str | None]) -> Iterator[str]:
    """Yield a, b, ..., Z, aa, ab, ..., a9, ... without what is taken: names for what needs one that says nothing.

    >>> from itertools import islice
    >>> list(islice(letters({"b"}), 2))
    ['a', 'c']
    """
    for length in itertools.count():
        for parts in itertools.product(string.ascii_letters, *[string.ascii_letters + string.digits] * length):
            if (name := "".join(parts)) not in taken:
                yield name
