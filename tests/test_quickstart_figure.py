"""The picture of the README is made by the lines that stand in the README."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import quickstart_figure
import torch

import srnn

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_readme_has_the_ten_lines() -> None:
    code = quickstart_figure.quickstart(README.read_text(encoding="utf-8"))
    compile(code, "README.md", "exec")
    assert len(code.splitlines()) == 10
    for name in ("prediction", "test"):
        assert f"{name} = " in code


def test_a_readme_without_the_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="## Quickstart"):
        quickstart_figure.quickstart("# A title\n")


def test_the_lines_run_in_a_folder_of_their_own() -> None:
    before = Path.cwd()
    names = quickstart_figure.run("from pathlib import Path\nhere = Path.cwd()")
    assert names["here"] != before
    assert Path.cwd() == before


def test_what_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    chain = srnn.systems.SpringChain.random(masses=20, generator=generator)
    test = chain.simulate(4, steps=30, dt=0.1, generator=generator)
    test = test.with_noise(0.2, generator=generator)
    prediction = srnn.Model(chain).predict(test, steps=30)
    figure = quickstart_figure.draw(prediction, test)
    left, *masses = figure.axes
    assert len(left.lines) == 3
    assert [ax.get_ylabel() for ax in masses] == ["position $q_{5}$", "position $q_{12}$"]
    plt.close(figure)
