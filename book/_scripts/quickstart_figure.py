"""Run the README's quickstart as it stands there and draw what it predicts.

    python book/_scripts/quickstart_figure.py        # writes book/images/quickstart.png

Left: the error of the prediction against time, averaged over the test trajectories, beside that of
predicting zero and that of a perfect prediction, which noise keeps from zero. Right: two masses of
one test trajectory. Takes less than a minute.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

import srnn

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "book" / "images" / "quickstart.png"
MASSES = (5, 12)  # the paper shows number 5
OBSERVED = 10
MODEL = {"color": srnn.plotting.COLOURS["blue"], "linestyle": "-"}


def quickstart(readme: str) -> str:
    """Return the code under the README's heading Quickstart."""
    found = re.search(r"^## Quickstart\n+```python\n(.*?)^```", readme, flags=re.DOTALL | re.M)
    if found is None:
        raise ValueError("Expected the README to have python code under '## Quickstart'.")
    return found[1]


def run(code: str) -> dict[str, Any]:
    """Run the code in a folder of its own, since it saves a model; return its variables."""
    names: dict[str, Any] = {}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            exec(compile(code, "README.md", "exec"), names)
        finally:
            os.chdir(before)
    return names


def draw(prediction: srnn.Trajectories, test: srnn.Trajectories) -> Figure:
    """Draw errors over time beside two masses of the first test trajectory."""
    figure = plt.figure(figsize=(9.0, 3.6))
    grid = figure.add_gridspec(2, 2, width_ratios=(1.0, 1.25))
    left = figure.add_subplot(grid[:, 0])
    zero = srnn.Trajectories.predicted(torch.zeros_like(test.values), dt=test.dt)
    perfect = srnn.Trajectories.predicted(test.clean, dt=test.dt)
    curves = (
        ("predicting zero", zero, {"color": srnn.plotting.COLOURS["vermilion"], "linestyle": "--"}),
        ("model", prediction, MODEL),
        ("noise alone", perfect, {"color": srnn.plotting.COLOURS["black"], "linestyle": ":"}),
    )
    for name, guess, line in curves:
        errors = srnn.metrics.position_error(guess, test)
        label = f"{name}: mean {float(errors.mean()):.2f}"
        srnn.plotting.error_over_time(errors, test.dt, left, label=label, **line)
    left.set_ylim(0, 1.25 * left.get_ylim()[1])
    left.legend(loc="upper left")
    left.set_title("error against the noisy truth, 32 trajectories")
    for row, mass in enumerate(MASSES):
        ax = figure.add_subplot(grid[row, 1])
        ax.plot(test.times, test.clean[:, 0, mass - 1], color="0.65", linewidth=3.5, label="truth")
        ax.plot(
            test.times[:OBSERVED],
            test.q[:OBSERVED, 0, mass - 1],
            color="black",
            linestyle="none",
            marker="o",
            markersize=3,
            label="first ten observations",
        )
        srnn.plotting.coordinate(prediction, ax, coordinate=mass - 1, label="model", **MODEL)
        if row == 0:
            ax.set(xlabel="", xticklabels=[])
            ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description="Run the README's quickstart and draw it.")
    parser.add_argument("--output", type=Path, default=PICTURE, help="the picture to write")
    options = parser.parse_args(arguments)
    names = run(quickstart((root / "README.md").read_text(encoding="utf-8")))
    with mpl.rc_context():
        srnn.plotting.style()
        figure = draw(names["prediction"], names["test"])
        options.output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(options.output, dpi=150, metadata={"Software": None})
        plt.close(figure)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
