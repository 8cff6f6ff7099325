"""The addresses that modules had before they stood in rooms go on, beside those they have now."""

import importlib
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import srnn

ROOT = Path(__file__).resolve().parent.parent
# Every public module as it was addressed then, with what it listed.  What has been deleted since is
# left out; CHANGELOG.md names it.
BEFORE = """
srnn HNN LSTM RNN SRNN HNet History Model ONet QuadraticH Trajectories convexity diagnostics errors
srnn fields flow_map gradients integrators iso likelihood load metrics nn plotting pretrained
srnn rebound rollout systems widgets
srnn.adjoint GRADIENTS Gradient
srnn.checkpoint integrator_from_config integrator_to_config read write
srnn.cli main
srnn.convexity AlongLine Conditioning ConvexRadius EigenvalueGrid IsoHessian conditioning
srnn.convexity convex_radius eigenvalue_along eigenvalue_grid flow_map iso_hessian singular_pairs
srnn.convexity symplectic_defect
srnn.data Trajectories
srnn.diagnostics Diagnosis FittedResiduals Forecast Statistic diagnose
srnn.errors CheckpointError ConvergenceError SrnnError TrainingDiverged
srnn.experiments Result Row Sample load model_card pretrained results rows sample store trained
srnn.experiments weights_path
srnn.experiments.billiard ROWS UNSEEN OneStep draw_test draw_training fit make one_step_cases score
srnn.experiments.chain_iso baselines least_squares_gap models
srnn.experiments.reproduction COLUMNS MODES PRESETS TABLES Cell Failure Fit Job Mode evaluate jobs
srnn.experiments.reproduction problem published row_label run sweep unfinished
srnn.fields Field Hamiltonian HamiltonianField VectorField as_field weight_of
srnn.flow_map TangentField flow_map singular_pairs symplectic_defect
srnn.gradients norms_through_time
srnn.integrators FAMILIES ImplicitMidpoint Integrator RungeKutta Splitting Tao available get
srnn.integrators rescaled
srnn.iso METHODS InitialStates IsoStatus optimise_initial_state
srnn.likelihood estimated_sigma negative_log_likelihood
srnn.losses derivative_loss trajectory_loss window_loss
srnn.metrics Summary angular_momentum energy_drift position_error summary valid_prediction_time
srnn.model FORMAT Model
srnn.models HNN SRNN load
srnn.nn LSTM MLP RNN HNet ONet PairwiseH QuadraticForm QuadraticH
srnn.nn.hnet HNet
srnn.nn.mlp MLP input_gradient linear
srnn.nn.onet ONet
srnn.nn.pairwise PairwiseH
srnn.nn.quadratic QuadraticForm QuadraticH
srnn.nn.recurrent LSTM RNN
srnn.plotting COLOURS coordinate energy_contours error_curves error_over_time growth many_positions
srnn.plotting one_position orbits path phase_portrait published_and_ours room speed style
srnn.rebound KnownWalls LevelSetWalls ObservedRebounds PatchWalls PictureWalls Rebound ReboundRecord
srnn.rebound Restitution ScaledWalls WalledH Walls fit_free_motion observed_rebounds patches record
srnn.rebound reflect start_from_rebounds with_rebound
srnn.recipes ISO_METHODS OPTIMIZERS PRESETS WITH_ISO WITH_WALLS Recipe
srnn.rollout integrate rollout
srnn.run History
srnn.scaling Scale ScaledField ScaledHamiltonian
srnn.starts Starts noise_weights
srnn.systems FPUT AdaptiveTruth Billiard Bounces DoublePendulum HenonHeiles MassSpring OrbitStatus
srnn.systems Pendulum PlanarGravity QuadraticHamiltonian Room SeparableSystem SpringChain System
srnn.systems ThreeBody TwoBody
srnn.systems.billiard Billiard
srnn.systems.double_pendulum DoublePendulum
srnn.systems.fput FPUT
srnn.systems.henon_heiles HenonHeiles
srnn.systems.mass_spring MassSpring
srnn.systems.pendulum Pendulum
srnn.systems.quadratic QuadraticHamiltonian
srnn.systems.room Room
srnn.systems.spring_chain SpringChain
srnn.systems.three_body ThreeBody
srnn.systems.two_body TwoBody
srnn.training check_checkpoint check_data check_validation train
srnn.variable_projection fit_quadratic
srnn.warm_start distil if_better least_squares start_noise symmetric_least_squares
srnn.warm_start variable_projection
srnn.widgets ball bodies live slider
"""
NAMES = [
    (module, name)
    for module, *names in map(str.split, BEFORE.strip().splitlines())
    for name in names
]
MODULES = sorted({module for module, _ in NAMES} - {"srnn"})
# What `import srnn` did not make an attribute of srnn.
APART = ("srnn.cli", "srnn.experiments.billiard", "srnn.experiments.chain_iso")
DRAWING = {"matplotlib", "ipywidgets", "IPython"}


def run(code: str) -> str:
    """Run code in an interpreter that has imported nothing of srnn."""
    how = [sys.executable, "-c", code]
    done = subprocess.run(how, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_addresses_are_there_when_srnn_is_imported_alone() -> None:
    shown = [f"{module}.{name}" for module, name in NAMES if not module.startswith(APART)]
    drawn = [name for name in shown if name.startswith(("srnn.plotting", "srnn.widgets"))]
    assert len(shown) > 150
    assert len(drawn) > 15
    code = f"""
import sys, srnn
for name in {[name for name in shown if name not in drawn]}:
    eval(name)
assert not {DRAWING} & set(sys.modules), "a drawing library"
for name in {drawn}:
    eval(name)
import srnn.rollout  # would put a module in the place of what is called
assert srnn.rollout is sys.modules["srnn.motion.rollout"].rollout
"""
    run(code + CALLS)


CALLS = """
import torch
how = (srnn.systems.MassSpring(), "leapfrog", torch.ones(3, 2))
states = srnn.rollout(*how, dt=0.1, steps=4)
assert states.shape == (5, 3, 2)
for module in (srnn.rollout, sys.modules["srnn.motion.rollout"]):
    found = [z for z, _ in module.integrate(*how, dt=0.1, steps=4)]
    assert torch.equal(torch.stack(found), states)
"""


@pytest.mark.parametrize("first", ["then", "now"])
def test_an_address_of_then_and_of_now_are_one_module(first: str) -> None:
    table = {f"srnn.{then}": f"srnn.{now}" for then, now in srnn._ADDRESSES.items()}
    assert set(table) & set(MODULES) >= {"srnn.iso", "srnn.losses", "srnn.rollout", "srnn.widgets"}
    del table["srnn.rollout"]  # where the function stands, with all that is in its module
    table |= {f"{then}._{part}": f"{table[then]}._{part}" for then, part in PRIVATE}
    pairs = [*table.items()] if first == "then" else [pair[::-1] for pair in table.items()]
    code = f"""
import importlib, pickle, sys
for one, other in {pairs}:
    exec(f"import {{one}}")
    assert sys.modules[one] is importlib.import_module(other), one
    spec = sys.modules[one].__spec__
    assert spec.name == sys.modules[one].__name__ and not spec._initializing, spec
for module, name in {NAMES}:
    exec(f"from {{module}} import {{name}} as thing")
    assert thing is eval(f"{{module}}.{{name}}"), (module, name)
    assert thing is pickle.loads(f"c{{module}}\\n{{name}}\\n.".encode()), (module, name)
import srnn
"""
    run(code + CALLS)


PRIVATE = [("srnn.iso", "problem"), ("srnn.plotting", "style"), ("srnn.adjoint", "sweep")]


def test_what_is_pickled_is_found_again() -> None:
    for thing in (srnn.SRNN, srnn.iso.IsoStatus.CONVERGED, srnn.metrics.summary):
        assert pickle.loads(pickle.dumps(thing)) is thing
    recipe = srnn.recipes.Recipe(epochs=3)
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_an_address_that_there_never_was_is_refused_by_its_name() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'srnn\.nowhere'"):
        importlib.import_module("srnn.nowhere")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'srnn\.starts\.iso\.nowhere'"):
        importlib.import_module("srnn.iso.nowhere")
    with pytest.raises(AttributeError, match="module 'srnn' has no attribute 'nowhere'"):
        _ = srnn.nowhere


def test_nothing_hides_a_module() -> None:
    for found in pkgutil.walk_packages(srnn.__path__, "srnn."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            assert pkgutil.resolve_name(found.name) is module, found.name


# -- and for type checkers ------------------------------------------------------------------------


def test_the_stubs_are_the_table() -> None:
    stubs = {path.stem: path.read_text() for path in (ROOT / "srnn-stubs").glob("*.pyi")}
    public = {then: now for then, now in srnn._ADDRESSES.items() if not then.startswith("_")}
    assert stubs == {then: f"from srnn.{now} import *\n" for then, now in public.items()}
    assert (ROOT / "srnn-stubs" / "py.typed").read_text() == "partial\n"


# One name is not there, so that a module nobody looks into does not pass.
CALLER = """
import srnn
import srnn.iso
import srnn.rollout as module
from srnn import plotting
from srnn.integrators import get
from srnn.losses import window_loss
from srnn.losses import nothing
from srnn.rollout import integrate

how = (srnn.systems.MassSpring(), "leapfrog", srnn.iso.IsoStatus.CONVERGED)
state = srnn.rollout(*how, dt=0.1, steps=3)
reveal_type(srnn.rollout.integrate(*how, dt=0.1, steps=3))
reveal_type(module.integrate)
reveal_type(integrate)
reveal_type(get("leapfrog"))
reveal_type(window_loss)
reveal_type(srnn.metrics.valid_prediction_time)
reveal_type(plotting.error_curves)
reveal_type(srnn.SRNN(2))
reveal_type(srnn.iso.InitialStates)
"""


REVEALED = """
typing.Iterator[tuple[Any, Any]]
def (field: Any, integrator: Any, z0: Any, *, dt: float, steps: int
def (field: Any, integrator: Any, z0: Any, *, dt: float, steps: int
srnn.motion.integrators._protocol.Integrator
def (net: Any, integrator: srnn.motion.integrators._protocol.Integrator | None
def (prediction: srnn.data.trajectories.Trajectories
def (curves: typing.Mapping[str, Any], dt: float
srnn.model.models.SRNN
def (states: Any, loss: Any
"""


@pytest.mark.slow
def test_a_type_checker_finds_the_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "caller.py").write_text(CALLER)
    others = "torch torch.* numpy numpy.* scipy.* matplotlib.* IPython.* ipywidgets.* tqdm.*"
    config = "[mypy]\nstrict = true\n"
    # What the library imports is left out, for it takes most of the time.
    for other in others.split():
        config += f"[mypy-{other}]\nfollow_imports = skip\nignore_missing_imports = true\n"
    (tmp_path / "mypy.ini").write_text(config)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "caller.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if "caller.py:" in line]
    (wrong,) = [line for line in said if "error:" in line]
    assert 'Module "srnn.losses" has no attribute "nothing"' in wrong
    revealed = [line.partition('type is "')[2] for line in said if "note:" in line]
    for type_, start in zip(revealed, REVEALED.strip().splitlines(), strict=True):
        assert type_.startswith(start)
