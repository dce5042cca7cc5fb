"""The command line as ``python -m edgewright``."""

from .cli import main

if __name__ == "__main__":
    main()
