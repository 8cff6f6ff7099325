"""``python -m srnn``: the same as the command ``srnn``."""

from srnn.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
