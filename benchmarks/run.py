"""How fast, how large and how accurate training through an integrator is.

    python benchmarks/run.py                      all parts, the whole sizes (make bench)
    python benchmarks/run.py --only step,growth   some of them
    python benchmarks/run.py --quick              all parts at small sizes; nothing is stored

step      one training step of the paper's sizes beside other ways and other libraries
growth    its time as the rollout, the batch, the width and the number of masses grow
memory    peak memory of a rollout and its backward pass, short and long
accuracy  errors of the gradients
import    what the import takes

Results go to srnn/experiments/results/speed_*.json.  `growth` goes on where it stopped, unless
`--fresh` is given.  Libraries to compare with come with the extra: pip install -e ".[bench]".
"""

import argparse
import importlib
import json
import sys
from typing import Any

from _timing import use_threads

PARTS = ("step", "growth", "memory", "accuracy", "import")


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--worker"]:
        part, options = given[1], json.loads(given[2])
        use_threads(options["threads"])
        importlib.import_module(f"_{part}").work(options)
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing stored")
    parser.add_argument("--fresh", action="store_true", help="redo what is stored")
    parser.add_argument("--rounds", type=int, default=15)
    options: Any = parser.parse_args(given)
    parts = options.only.split(",")
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        parser.error(f"Expected parts of {', '.join(PARTS)}; got {', '.join(unknown)}.")
    from srnn import experiments

    options.store = (lambda name, result: None) if options.quick else experiments.store
    for part in parts:
        name = f"speed_{part}"
        try:
            stored = {} if options.quick or options.fresh else experiments.load(name)
        except ValueError:
            stored = {}
        options.store(name, importlib.import_module(f"_{part}").run(options, stored))
    return 0


if __name__ == "__main__":
    sys.exit(main())
