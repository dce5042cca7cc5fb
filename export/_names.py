"""Names of inputs and outputs without what converters put around them."""

_PREFIX = "serving_default_"


def plain_name(name: str) -> str:
    """Return a tensor's name as the runner calls it (runtimes/_runner.py has the same rule).

    >>> plain_name("serving_default_image:0"), plain_name("image")
    ('image', 'image')
    """
    return name.removeprefix(_PREFIX).split(":")[0]
