"""Print the lowest declared versions of the runtime dependencies, as pip constraints.

The bounds are written once, in pyproject.toml; this derives from them the constraints of the test
run that shows they are true: ``python .ci/lowest.py > lowest.txt``.
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def lowest(pyproject: Path = PYPROJECT) -> list[str]:
    """Return ``name==bound`` for each runtime dependency, all of which are ``name>=bound``."""
    dependencies = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    pins = []
    for requirement in dependencies:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", requirement)
        if match is None:
            raise SystemExit(
                f"Expected a requirement `name>=version` and nothing more; got {requirement!r}."
            )
        pins.append("{}=={}".format(*match.groups()))
    return pins


if __name__ == "__main__":
    print("\n".join(lowest()))
