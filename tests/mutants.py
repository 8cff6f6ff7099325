"""Deliberate breaks of the library, and the tests that must notice them.

``python tests/mutants.py`` (``make mutants``) copies the files of the checkout that git tracks,
applies one break after the other to the copy, and runs on each the tests that it names; the
checkout is only read.  It is no part of the test suite, which does not collect this file.

A break is found by its source text, which must stand once in ``srnn/``: where a file lies does not
matter, and a line that was rewritten is reported as "not found", to be written anew here.  One dies
by a failing assertion or by a named error (ValueError, TypeError, an error of the library's own),
or where a test asks for an error and another one comes; a name that is missing, a file that no
longer parses, or a crash inside PyTorch does not count.

Two thirds of the breaks were drawn: :func:`draws` takes, in the files of an area as they were at
``COMMIT``, a line of code at random, and then one of the mutations that it admits: another sign,
factor, index or comparison, or the line left out.  ``--draws AREA`` prints them, and each stands
below by its number; one that changes no behaviour, or can only crash, stands with the reason in
place of tests, and the next takes its place.
"""

import argparse
import ast
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
COMMIT = "fd96c0f"  # whose files were drawn from
SEED = 20261130
# The share of breaks that must die.
LEAST = 0.95
# A run that hangs is no kill: the break is then to be replaced by one that the tests see at once.
SECONDS = 300
# The files of each area at COMMIT.
AREAS = {
    "data": ["data.py"],
    "integrators": ["integrators/"],
    "rollout": ["rollout.py", "flow_map.py", "fields.py"],
    "adjoint": ["adjoint/", "gradients.py"],
    "iso": ["iso/", "starts.py"],
    "training": ["training.py", "losses.py", "recipes.py", "warm_start.py"],
    "checkpoint": ["checkpoint.py", "run.py"],
    "scaling": ["scaling.py"],
    "metrics": ["metrics.py"],
    "rebound": ["rebound/"],
    "diagnosis": ["diagnostics/"],
    "reproduction": ["experiments/"],
    "systems": ["systems/"],
}


# ------------------------------------------------------------------------------------ the draw
@dataclass(frozen=True)
class Edit:
    """Replace a piece of one line of a file."""

    path: str
    line: int
    begin: int
    end: int
    text: str
    kind: str


_OPERATORS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")}
_COMPARISONS = {
    ast.Lt: ("<", ">"),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", "<"),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_SWAPS = {"min": "max", "minimum": "maximum", "amin": "amax", "argmin": "argmax", "any": "all"}
_SWAPS |= {after: before for before, after in _SWAPS.items()}


def _skipped(node: ast.AST) -> bool:
    """Whether nothing is drawn in here: texts for people, types, what no test can reach."""
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
        return True
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _walk(node: ast.AST, parents: tuple[ast.AST, ...] = ()) -> Iterator[tuple[ast.AST, tuple]]:
    if _skipped(node):
        return
    yield node, parents
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "args") and not isinstance(
            node, ast.Call
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child, (*parents, node))


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _edits(path: str, source: str) -> Iterator[Edit]:
    """Every mutation that the draw may take in a file."""
    lines = source.splitlines()

    def between(left: ast.expr, right: ast.expr, old: str, new: str, kind: str) -> Iterator[Edit]:
        if left.end_lineno == right.lineno:
            gap = lines[right.lineno - 1].encode()[left.end_col_offset : right.col_offset].decode()
            if gap.count(old) == 1:
                begin = left.end_col_offset + gap.index(old)
                yield Edit(path, right.lineno, begin, begin + len(old), new, kind)

    def whole(node: ast.AST, text: str, kind: str) -> Iterator[Edit]:
        if node.lineno == node.end_lineno:
            yield Edit(path, node.lineno, node.col_offset, node.end_col_offset, text, kind)

    for node, parents in _walk(ast.parse(source)):
        parent = parents[-1] if parents else None
        match node:
            case ast.BinOp() if type(node.op) in _OPERATORS:
                sides = (node.left, node.right)
                if not any(_is_no_number(x) for x in sides):
                    old, new = _OPERATORS[type(node.op)]
                    kind = "sign" if old in "+-" else "factor"
                    yield from between(*sides, old, new, kind)
            case ast.Compare() if len(node.ops) == 1:
                old, new = _COMPARISONS[type(node.ops[0])]
                yield from between(node.left, node.comparators[0], old, new, "comparison")
            case ast.BoolOp():
                old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
                yield from between(*node.values[:2], old, new, "comparison")
            case ast.UnaryOp(op=ast.USub()) if not isinstance(node.operand, ast.Constant):
                yield from whole(node, ast.unparse(node.operand), "sign")
            case ast.UnaryOp(op=ast.Not()):
                yield from whole(node, f"bool({ast.unparse(node.operand)})", "comparison")
            case ast.Constant(value=bool()) if getattr(parent, "arg", "") != "strict":
                yield from whole(node, str(not node.value), "comparison")
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                inside = any(isinstance(x, ast.Subscript) for x in parents[-3:])
                axis = isinstance(parent, ast.keyword) and parent.arg in ("dim", "axis", "start")
                number = node.value
                if isinstance(number, int) and (inside or axis):
                    yield from whole(node, str(number + 1), "index")
                else:
                    yield from whole(node, str(2 * number if number else 1), "factor")
            case ast.Attribute(attr=name) if name in _SWAPS and isinstance(parent, ast.Call):
                if node.end_lineno is not None and node.end_col_offset is not None:
                    begin = node.end_col_offset - len(name)
                    yield Edit(
                        path,
                        node.end_lineno,
                        begin,
                        node.end_col_offset,
                        _SWAPS[name],
                        "comparison",
                    )
            case ast.Name(id=name) if name in _SWAPS and isinstance(parent, ast.Call):
                yield from whole(node, _SWAPS[name], "comparison")
            case ast.If(test=ast.Name() | ast.Attribute() | ast.Call() as test):
                yield from whole(test, f"not {ast.unparse(test)}", "comparison")
            case ast.Raise(exc=ast.Call() as error):
                yield Edit(path, node.lineno, node.col_offset, error.col_offset, "", "dropped line")
            case ast.AugAssign() | ast.Expr(value=ast.Call()):
                yield from whole(node, "pass", "dropped line")
            case ast.Assign(targets=[ast.Name(id=name)]) if name in _names(node.value):
                yield from whole(node, "pass", "dropped line")
            case ast.Assign(targets=[ast.Subscript()]):
                yield from whole(node, "pass", "dropped line")


def _is_no_number(node: ast.expr) -> bool:
    """Whether this is a text, a list, or the path of a file."""
    if isinstance(node, ast.BinOp):
        return _is_no_number(node.left) or _is_no_number(node.right)
    kinds = (ast.JoinedStr, ast.List, ast.Tuple)
    return isinstance(node, kinds) or isinstance(getattr(node, "value", None), str)


def _apply(source: str, edit: Edit) -> str:
    lines = source.splitlines(keepends=True)
    line = lines[edit.line - 1].encode()
    lines[edit.line - 1] = (line[: edit.begin] + edit.text.encode() + line[edit.end :]).decode()
    return "".join(lines)


def _sources() -> dict[str, str]:
    """Return the files of the library at COMMIT."""
    command = ["git", "-C", str(ROOT), "archive", COMMIT, "srnn"]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.name.endswith(".py"):
                file = tar.extractfile(member)
                assert file is not None
                found[member.name.removeprefix("srnn/")] = file.read().decode()
    return found


def draws(area: str, sources: dict[str, str]) -> Iterator[Edit]:
    """Mutations of an area in the order of the draw, each on another line.

    A line is drawn among all that admit a mutation, then the kind, then one of that kind.
    """
    lines: dict[tuple[str, int], list[Edit]] = {}
    for path in sorted(sources):
        if any(path == start or path.startswith(start) for start in AREAS[area]):
            for edit in _edits(path, sources[path]):
                lines.setdefault((path, edit.line), []).append(edit)
    rng = random.Random(f"{SEED} {area}")
    order = sorted(lines)
    while order:
        edits = lines[order.pop(rng.randrange(len(order)))]
        kinds = sorted({edit.kind for edit in edits})
        kind = kinds[rng.randrange(len(kinds))]
        edits = [edit for edit in edits if edit.kind == kind]
        yield edits[rng.randrange(len(edits))]


# ------------------------------------------------------------------------------------ the list
@dataclass(frozen=True)
class Break:
    """One break: `old` becomes `new`, and one of `tests` must fail."""

    area: str
    at: str  # where it was when the list was written
    what: str
    old: str = ""
    new: str = ""
    tests: str = ""
    draw: int | None = None
    replaced: str = ""  # why a draw stands for nothing

    @property
    def selectors(self) -> list[str]:
        """The tests as pytest takes them: a name without a file is of the file before it."""
        found: list[str] = []
        for test in self.tests.split():
            whole = test.partition(".py")[1]
            found.append(test if whole else f"{found[-1].partition('::')[0]}::{test}")
        return found


BREAKS = [
    Break(
        "data",
        "data/residual",
        "a loss with gaps is averaged over all numbers, the missing ones among them",
        "return cost.sum() / seen.sum()",
        "return cost.mean()",
        "test_gaps.py::test_the_mean_loss_is_over_what_was_observed",
    ),
    Break(
        "data",
        "data/_clock",
        "a gap in a clock is a step shorter than it is",
        "gaps = np.maximum(1, np.rint(np.diff(ticks) / dt)).astype(np.int64)",
        "gaps = np.maximum(1, np.floor(np.diff(ticks) / dt - 0.5)).astype(np.int64)",
        "test_recordings.py::test_thirty_a_second_to_the_millisecond",
    ),
    Break(
        "data",
        "data/_arrays",
        "the fill value of a masked array becomes data",
        "value = value.filled(np.nan)",
        "value = value.filled()",
        "test_recordings.py::test_nan_a_mask_and_a_masked_array_say_the_same",
    ),
    Break(
        "data",
        "starts/optimised",
        "with gaps the mean square is of all numbers, the missing ones among them",
        "counted = self.seen[first:].sum(dim=(0, 1)).clamp_min(1)",
        "counted = (len(self.values) - first) * len(self.z0)",
        "test_gaps.py::test_noise_is_estimated_from_what_was_observed",
    ),
    Break(
        "integrators",
        "integrators/_implicit",
        "implicit midpoint: the tolerance is of the difference of two sizes",
        draw=0,
        replaced="Newton stops a step later, to the same rounding",
    ),
    Break(
        "integrators",
        "integrators/_implicit",
        "implicit midpoint: Newton's identity has the size of the batch",
        "identity = torch.eye(flat.shape[-1], dtype=flat.dtype, device=flat.device)",
        "identity = torch.eye(flat.shape[-2], dtype=flat.dtype, device=flat.device)",
        "test_integrators.py::test_order_on_a_nonlinear_pendulum[implicit-midpoint]",
        draw=1,
    ),
    Break(
        "integrators",
        "integrators/_tao",
        "Tao: the copies are joined along the batch",
        "velocity, force = _checks.halves(field(torch.cat((q, y), dim=-1)))",
        "velocity, force = _checks.halves(field(torch.cat((q, y), dim=-2)))",
        (
            "test_integrators.py::test_order_on_a_hamiltonian_that_is_not_separable "
            "test_tao_returns_in_its_extended_space"
        ),
        draw=2,
    ),
    Break(
        "integrators",
        "integrators/_table",
        "rk4: a weight of 3 for 1/3",
        draw=3,
        replaced="refused as the library is imported: no test comes to run",
    ),
    Break(
        "integrators",
        "integrators/_table",
        "leapfrog-drift calls itself a method of order 4",
        'Splitting("leapfrog-drift", 2, (("drift", 0.5), ("kick", 1.0), ("drift", 0.5))),',
        'Splitting("leapfrog-drift", 4, (("drift", 0.5), ("kick", 1.0), ("drift", 0.5))),',
        "test_integrators.py::test_the_table_of_methods_is_whole",
        draw=4,
    ),
    Break(
        "integrators",
        "integrators/_implicit",
        "implicit midpoint: half the difference of two states for their middle",
        "middle = (start + z) / 2",
        "middle = (start - z) / 2",
        "test_integrators.py::test_implicit_midpoint_solves_its_equation_to_rounding",
        draw=5,
    ),
    Break(
        "integrators",
        "integrators/_implicit",
        "implicit midpoint says that it is not symplectic",
        ("order: int = 2\n    symplectic: bool = True"),
        ("order: int = 2\n    symplectic: bool = False"),
        "test_integrators.py::test_the_table_of_methods_is_whole",
        draw=6,
    ),
    Break(
        "integrators",
        "integrators/_table",
        "splitting: a kick leaves the velocity of an O-NET valid",
        ("p = p + (coefficient * dt) * force\n                velocity = None\n"),
        ("p = p + (coefficient * dt) * force\n"),
        (
            "test_integrators.py::test_leapfrog_conventions_for_an_onet "
            "test_evaluations_of_an_onet_in_ten_steps"
        ),
    ),
    Break(
        "integrators",
        "integrators/_tao",
        "Tao: the binding turns the difference of momenta the wrong way",
        "cos * v - sin * u)",
        "cos * v + sin * u)",
        (
            "test_integrators.py::test_tao_is_symplectic_in_its_extended_space "
            "test_tao_returns_in_its_extended_space"
        ),
    ),
    Break(
        "rollout",
        "flow_map",
        "flow map: pieces of a batch are joined along another axis",
        "jacobians = torch.cat([piece[1] for piece in pieces], dim=1)",
        "jacobians = torch.cat([piece[1] for piece in pieces], dim=2)",
        "test_survivors.py::test_pieces_of_several_trajectories_give_the_same_flow_map",
        draw=0,
    ),
    Break(
        "rollout",
        "flow_map",
        "tangent field: velocity and force are joined along the batch",
        (
            "if self.separable:\n"
            "            return torch.cat((self.velocity(q, p), self.force(q, p)), dim=-1)"
        ),
        (
            "if self.separable:\n"
            "            return torch.cat((self.velocity(q, p), self.force(q, p)), dim=-2)"
        ),
        "test_flow_map.py::test_the_tangent_field_is_the_variational_equation",
        draw=1,
    ),
    Break(
        "rollout",
        "flow_map",
        "flow map: matrices that are not of states pass",
        (
            "if F.ndim < 2 or F.shape[-1] != F.shape[-2] or F.shape[-1] % 2:\n"
            "        raise ValueError("
        ),
        ("if F.ndim < 2 or F.shape[-1] != F.shape[-2] or F.shape[-1] % 2:\n        ValueError("),
        "test_flow_map.py::test_matrices_that_are_not_of_states_are_refused",
        draw=2,
    ),
    Break(
        "rollout",
        "flow_map",
        "flow map: states and tangents are joined along another axis",
        draw=3,
        replaced="can only end in PyTorch's own RuntimeError",
    ),
    Break(
        "rollout",
        "fields",
        "fields: the weight is looked for in the wrong part of a field",
        ('for name in ("net", "hamiltonian", "function"))'),
        ('for name in ("net", "hamiltonian"))'),
        "test_fields.py::test_the_weight_inside_a_field_tells_its_dtype",
        draw=4,
    ),
    Break(
        "rollout",
        "rollout",
        "rollout: what is its own step is taken for a field and the other way round",
        "if asked(field).own_step:",
        "if not asked(field).own_step:",
        (
            "test_rollout.py::test_a_recurrent_network_takes_no_integrator_and_no_time "
            "test_a_network_without_an_integrator_is_refused"
        ),
        draw=5,
    ),
    Break(
        "rollout",
        "rollout",
        "rollout: backward in time goes forward",
        '{"dt": -dt if backward else dt,',
        '{"dt": dt,',
        "test_rollout.py::test_backward_is_a_negative_step",
    ),
    Break(
        "rollout",
        "rollout",
        "rollout: a substep is a whole step",
        ("dt / substeps)\n        yield method.read"),
        ("dt)\n        yield method.read"),
        "test_rollout.py::test_substeps_are_steps_that_are_not_shown",
    ),
    Break(
        "adjoint",
        "gradients",
        "gradients through time: the number of steps is not checked",
        ("steps = _checks.steps(steps)\n    v = _cotangent"),
        ("v = _cotangent"),
        "test_gradients.py::test_bad_input_is_refused_in_words",
        draw=0,
    ),
    Break(
        "adjoint",
        "adjoint/_kernels",
        "fused adjoint: the quadratic term is left out of the cotangent",
        ("into.addmm_(self.down, delta)\n        if self.form is not None:"),
        ("into.addmm_(self.down, delta)\n        if self.form is None:"),
        ("test_adjoint.py::test_other_sizes test_an_empty_batch_and_a_start_at_the_origin"),
        draw=1,
    ),
    Break(
        "adjoint",
        "adjoint/_rollout",
        "fused adjoint: the step is converted to the network's unit of time the wrong way",
        "made = program(method, bool(field.separable), dt / time, steps, substeps)",
        "made = program(method, bool(field.separable), dt * time, steps, substeps)",
        "test_adjoint.py::test_other_units",
        draw=2,
    ),
    Break(
        "adjoint",
        "adjoint/_sweep",
        "fused adjoint: no room for activations",
        draw=3,
        replaced="can only end in Python's own StopIteration",
    ),
    Break(
        "adjoint",
        "adjoint/_sweep",
        "fused rollout: a step is divided by its fraction",
        "factor = signs[rate] * operation.factor",
        "factor = signs[rate] / operation.factor",
        "test_adjoint.py::test_a_network_under_a_method",
        draw=4,
    ),
    Break(
        "adjoint",
        "adjoint/_kernels",
        "fused adjoint: the potential is given the weights of the kinetic part",
        "return [[next(rest) for _ in part] for part in self.parts]",
        "return [list(weights[: len(part)]) for part in self.parts]",
        ("test_adjoint.py::test_other_sizes test_an_empty_batch_and_a_start_at_the_origin"),
        draw=5,
    ),
    Break(
        "adjoint",
        "adjoint/_kernels",
        "fused adjoint: half the derivative of tanh",
        "torch.addcmul(delta, delta, s, value=-2, out=delta)",
        "torch.addcmul(delta, delta, s, value=-1, out=delta)",
        "test_adjoint.py::test_a_network_under_a_method",
    ),
    Break(
        "iso",
        "iso/_problem",
        "ISO: starts are converted to the network's units where there are none",
        ("start = units.encode(z0)\n        return units.decode("),
        ("start = z0\n        return units.decode("),
        "test_iso.py::test_a_fitted_model_goes_by_its_test_integrator_in_the_datas_units",
        draw=0,
    ),
    Break(
        "iso",
        "iso/_problem",
        "Gauss-Newton: the step of least norm goes uphill",
        "step[some] = -_least_norm(unit[some], slope[some], size[some], dtype)",
        "step[some] = _least_norm(unit[some], slope[some], size[some], dtype)",
        "test_iso_inputs.py::test_the_step_of_least_norm_is_that_of_the_pseudo_inverse",
        draw=1,
    ),
    Break(
        "iso",
        "starts",
        "starts: noise and starts are settled four times, not twice",
        ('"""\n        for _ in range(2):'),
        ('"""\n        for _ in range(4):'),
        "test_starts.py::test_settled_starts_are_optimal_for_the_weights_they_estimated",
        draw=2,
    ),
    Break(
        "iso",
        "iso/_optimise",
        "ISO: a net whose derivatives are not those of its values passes",
        (
            "if bool((agree & wrong[1:] & wrong[:-1]).any()) and not bool(right.any()):\n"
            "        raise TypeError("
        ),
        (
            "if bool((agree & wrong[1:] & wrong[:-1]).any()) and not bool(right.any()):\n"
            "        TypeError("
        ),
        "test_iso_errors.py::test_a_model_without_the_derivatives_of_its_values_is_refused",
        draw=3,
    ),
    Break(
        "iso",
        "iso/_optimise",
        "ISO: a recurrent net may be asked for half its step",
        "if self.own_step and substeps > 1:",
        "if self.own_step and substeps > 2:",
        "test_survivors.py::test_a_recurrent_model_is_not_asked_for_a_part_of_its_step",
        draw=4,
    ),
    Break(
        "iso",
        "iso/_problem",
        "ISO: Jacobians are converted to the data's units the wrong way",
        "jacobians * (units.factor[:, None] / units.factor)",
        "jacobians * (units.factor / units.factor[:, None])",
        (
            "test_iso.py::test_a_problem_in_other_units_is_the_same_problem "
            "test_a_fitted_model_goes_by_its_test_integrator_in_the_datas_units"
        ),
    ),
    Break(
        "training",
        "training",
        "fit: validation data of another spacing pass",
        ("if not _checks.same_spacing(validation_data.dt, data.dt):\n        raise ValueError("),
        ("if not _checks.same_spacing(validation_data.dt, data.dt):\n        ValueError("),
        "test_models.py::test_a_refused_fit_leaves_the_model_as_it_was",
        draw=0,
    ),
    Break(
        "training",
        "training",
        "fit: a model without parameters is let through",
        'raise ValueError("The model has no parameters to train.")',
        'ValueError("The model has no parameters to train.")',
        "test_models.py::test_the_true_equations_predict_but_do_not_train",
        draw=1,
    ),
    Break(
        "training",
        "training",
        "fit: no checkpoint is written after an epoch",
        (
            "if file is not None and (history.stopped or time.monotonic() > written + 1):\n"
            "                save(run, file, mark)"
        ),
        (
            "if file is not None and (history.stopped or time.monotonic() > written + 1):\n"
            "                pass"
        ),
        (
            "test_checkpoint.py::test_an_interrupted_call_made_again_goes_on "
            "test_a_finished_run_is_not_done_again"
        ),
        draw=2,
    ),
    Break(
        "training",
        "training",
        "fit: validation data of the same spacing are refused",
        "if not _checks.same_spacing(validation_data.dt, data.dt):",
        "if bool(_checks.same_spacing(validation_data.dt, data.dt)):",
        ("test_models.py::test_a_refused_fit_leaves_the_model_as_it_was"),
        draw=3,
    ),
    Break(
        "training",
        "training",
        "fit: data of another dtype than the weights pass",
        '_checks.same_as(data.values, name, weight, "model")',
        "pass",
        "test_models.py::test_data_that_do_not_fit_are_refused",
        draw=4,
    ),
    Break(
        "training",
        "losses",
        "trimmed loss: the best trajectories are left out",
        "each.topk(kept, largest=False, sorted=False)",
        "each.topk(kept, largest=True, sorted=False)",
        "test_rebound_training.py::test_trimming_leaves_the_worst_out",
    ),
    Break(
        "training",
        "losses",
        "derivatives: the loss counts all windows, not those of the batch",
        "slopes = data.derivatives[:, index]",
        "slopes = data.derivatives[:, index].flip(1)",
        "test_models.py::test_hnn_learns_from_derivatives_alone",
    ),
    Break(
        "checkpoint",
        "run",
        "resume: the optimised starts are not restored",
        'starts.restore(part(f"{name}."))',
        "pass",
        "test_checkpoint.py::test_a_run_with_optimised_starts_goes_on_to_the_same_bits",
        draw=0,
    ),
    Break(
        "checkpoint",
        "checkpoint",
        "files: an integrator's name is taken for its table",
        "if isinstance(config, str):",
        "if not isinstance(config, str):",
        "test_models.py::test_classes_presets_and_own_integrators_survive_a_file",
        draw=1,
    ),
    Break(
        "checkpoint",
        "run",
        "resume: the weights are not restored",
        'run.motion.load_state_dict(part("net."))',
        "pass",
        "test_checkpoint.py::test_an_interrupted_call_made_again_goes_on",
        draw=2,
    ),
    Break(
        "checkpoint",
        "run",
        "epoch: a training loss that is not finite is passed over",
        'raise FloatingPointError(f"the training loss is {value}")',
        'FloatingPointError(f"the training loss is {value}")',
        "test_survivors.py::test_a_training_loss_that_is_not_finite_is_named",
        draw=3,
    ),
    Break(
        "checkpoint",
        "run",
        "run: the starts are not settled before the first epoch",
        ("if starts is not None:\n                    starts.settle()"),
        ("if starts is not None:\n                    pass"),
        "test_iso_training.py::test_the_mark_to_beat_is_the_start_with_its_own_starts_optimised",
        draw=4,
    ),
    Break(
        "checkpoint",
        "checkpoint",
        "files: a file of another format is read",
        ("    if found != expected:\n"),
        ("    if False:\n"),
        "test_checkpoint.py::test_a_model_is_not_a_checkpoint_nor_the_other_way_round",
    ),
    Break(
        "checkpoint",
        "run",
        "resume: the mark to beat is not restored",
        ('    run.best_loss = float(header["best_loss"])\n'),
        "",
        (
            "test_checkpoint.py::test_an_interrupted_call_made_again_goes_on "
            "test_a_finished_run_goes_on_when_more_epochs_are_asked_for"
        ),
    ),
    Break(
        "scaling",
        "scaling",
        "units: a spread counts only where it is negative",
        "return size if size > 0 else 1.0",
        "return size if size < 0 else 1.0",
        "test_scaling.py::test_units_are_read_off_the_data",
        draw=0,
    ),
    Break(
        "scaling",
        "scaling",
        "scaled H: states of another size are not refused",
        (
            '"""Energy of each state ``(..., 2*dim)``, shape ``(...)``, up to a constant."""\n'
            '        z = _checks.state(z, "z", self.dim)'
        ),
        (
            '"""Energy of each state ``(..., 2*dim)``, shape ``(...)``, up to a constant."""\n'
            "        pass"
        ),
        "test_scaling.py::test_states_that_do_not_fit_are_refused_in_the_units_of_the_data",
        draw=1,
    ),
    Break(
        "scaling",
        "scaling",
        "units: encoding multiplies by the units",
        "return (z - self.shift) / self.factor",
        "return (z - self.shift) * self.factor",
        (
            "test_scaling.py::test_a_scaled_oscillator_by_hand "
            "test_data_in_other_units_have_the_same_numbers_after_encoding"
        ),
        draw=2,
    ),
    Break(
        "scaling",
        "scaling",
        "units: a quarter of the coordinates are positions",
        draw=3,
        replaced="can only end in PyTorch's own RuntimeError",
    ),
    Break(
        "scaling",
        "scaling",
        "units: momentum zero moves though it was to stay",
        "shift[data.dim :] = 0",
        "pass",
        (
            "test_rebound_training.py::test_momentum_zero_stays_where_it_is_when_walls_are_there "
            "test_momentum_zero_stays_where_it_is_when_walls_are_there"
        ),
        draw=4,
    ),
    Break(
        "scaling",
        "scaling",
        "units: the spread is taken about the wrong side of the mean",
        "spread = (values - shift).square().nanmean(dim=(0, 1))",
        "spread = (values + shift).square().nanmean(dim=(0, 1))",
        "test_scaling.py::test_units_are_read_off_the_data",
        draw=5,
    ),
    Break(
        "scaling",
        "scaling",
        "units: the rate of momenta is left out",
        "rate = (rates[0] * rates[1]) ** 0.5",
        "rate = rates[0]",
        "test_survivors.py::test_the_unit_of_time_is_between_the_rates_of_both_halves",
    ),
    Break(
        "scaling",
        "data/units",
        "units: those of all coordinates are the first one's",
        "ratio = torch.where(some, q / p, (q / p)[some].log().mean().exp())",
        "ratio = (q / p)[:1].expand_as(q)",
        "test_units.py::test_what_is_learnt_does_not_depend_on_anyones_units",
    ),
    Break(
        "scaling",
        "starts/optimised",
        "noise: one size for all coordinates",
        "weights = sizes.log().mean().exp() / sizes",
        "weights = torch.ones_like(sizes)",
        "test_starts.py::test_noise_weights_are_those_of_maximum_likelihood",
    ),
    Break(
        "scaling",
        "iso/_optimise",
        "squares of initial states are taken in the data's units",
        "size = _sizes(motion, values, start, how)",
        "size = torch.ones_like(counts[0, 0])",
        "test_units.py::test_known_equations_in_si_units_give_the_same_starts_and_bars",
    ),
    Break(
        "scaling",
        "iso/_optimise",
        "a covariance that float32 cannot hold comes in float32",
        "return numbers.to(dtype) if fits else numbers",
        "return numbers.to(dtype)",
        "test_units.py::test_known_equations_in_si_units_give_the_same_starts_and_bars",
    ),
    Break(
        "metrics",
        "metrics",
        "one that diverges sets the size of all errors",
        "size = moderating(largest).to(difference)",
        "size = moderating(largest.amax().expand_as(largest)).to(difference)",
        "test_units.py::test_one_that_diverges_leaves_the_errors_of_the_others",
    ),
    Break(
        "diagnosis",
        "diagnostics/_forecast",
        "forecasts: a coordinate in a small unit drowns",
        "weights = (middle / unit_q).to(data.values.device)",
        "weights = torch.ones_like(unit_q)",
        (
            "test_units.py::test_a_diagnosis_tells_the_noise_of_each_coordinate_and_none_drowns_"
            "another"
        ),
    ),
    Break(
        "data",
        "data/trajectories",
        "masses multiply the positions",
        "return torch.cat((torch.ones_like(each), each)).to(values)",
        "return torch.cat((each, torch.ones_like(each))).to(values)",
        "test_units.py::test_masses_make_momenta_of_velocities_and_of_their_rates",
    ),
    Break(
        "metrics",
        "metrics",
        "valid time: products run over trajectories",
        "valid = torch.cumprod(good.to(torch.int64), dim=0).sum(dim=0)",
        "valid = torch.cumprod(good.to(torch.int64), dim=1).sum(dim=0)",
        "test_metrics.py::test_valid_prediction_time",
        draw=0,
    ),
    Break(
        "metrics",
        "metrics",
        "state error: of the sum of two states",
        draw=1,
        replaced="the function is gone",
    ),
    Break(
        "metrics",
        "metrics",
        "metrics: trajectories are refused, and what is none is taken",
        "if not isinstance(value, Trajectories):",
        "if bool(isinstance(value, Trajectories)):",
        "test_metrics.py",
        draw=5,
    ),
    Break(
        "metrics",
        "metrics",
        "summary: the sample's deviation for the population's",
        "std=float(per_trajectory.std(correction=0)),",
        "std=float(per_trajectory.std(correction=1)),",
        "test_metrics.py::test_a_summary_averages_over_time_before_trajectories",
        draw=2,
    ),
    Break(
        "metrics",
        "metrics",
        "energy drift: relative to an energy of zero",
        ("if len(zero):\n        raise ValueError("),
        ("if len(zero):\n        ValueError("),
        "test_metrics.py::test_energy_drift",
        draw=3,
    ),
    Break(
        "metrics",
        "metrics",
        "summary: one diverged trajectory where nobody says how many",
        "diverged: int = 0",
        "diverged: int = 1",
        "test_survivors.py::test_a_row_without_a_number_of_diverged_trajectories_has_none",
        draw=4,
    ),
    Break(
        "metrics",
        "metrics",
        "summary: no trajectory is said to have diverged",
        "diverged=int((~torch.isfinite(per_trajectory)).sum())",
        "diverged=0",
        "test_metrics.py::test_a_summary_says_how_many_trajectories_diverged",
    ),
    Break(
        "rebound",
        "rebound/_patches",
        "patches: their rows are off by their size",
        "row = self.rows - 0.5 - q[..., 1] - (self.size - 1) / 2 + self.size",
        "row = self.rows - 0.5 - q[..., 1] + (self.size - 1) / 2 + self.size",
        (
            "test_rebound_walls.py::test_patches_are_bilinear_samples "
            "test_a_patch_at_the_centre_of_a_pixel_is_its_surroundings"
        ),
        draw=0,
    ),
    Break(
        "rebound",
        "rebound/_known",
        "known walls: a step goes the sum of its ends",
        "way, none = end - start,",
        "way, none = end + start,",
        "test_rebound_walls.py::test_known_walls_are_where_the_lines_cross",
        draw=1,
    ),
    Break(
        "rebound",
        "rebound/_patches",
        "smoothed picture: the Gaussian is cut two pixels early",
        "reach = int(4 * scale + 1)",
        "reach = int(4 * scale - 1)",
        "test_survivors.py::test_a_smoothed_point_is_a_gaussian_out_to_four_deviations",
        draw=2,
    ),
    Break(
        "rebound",
        "rebound/_networks",
        "learnt walls: the gate stays smooth in predictions",
        "gate = (gate > 0.5).to(gate)",
        "pass",
        "test_rebound_walls.py::test_the_gate_is_sharp_in_predictions_only",
        draw=3,
    ),
    Break(
        "rebound",
        "rebound/_start",
        "start of walls: odds are normed by the last but one",
        "return torch.searchsorted(ends / ends[-1], places).clamp(max=len(odds) - 1)",
        "return torch.searchsorted(ends / ends[-2], places).clamp(max=len(odds) - 1)",
        "test_survivors.py::test_training_steps_of_walls_are_drawn_by_their_odds",
        draw=4,
    ),
    Break(
        "rebound",
        "rebound/_restitution",
        "restitution: n is as long as for what is lost",
        "return math.sqrt((1 + self.config) / 2)",
        "return math.sqrt((1 - self.config) / 2)",
        "test_rebound_walls.py::test_restitution_is_in_the_length_of_n",
    ),
    Break(
        "rebound",
        "rebound/_step",
        "rebound: the record tells what is left of the step for its instant",
        "places.append(1 - left / dt)",
        "places.append(left / dt)",
        (
            "test_rebound_step.py::test_the_loop_gives_the_states_and_what_the_method_keeps "
            "test_a_ball_without_rebound_has_its_time_at_the_end_of_the_step"
        ),
    ),
    Break(
        "diagnosis",
        "diagnostics/_residuals",
        "residuals: the variance counts coordinates, not trajectories",
        "total = total + self.values.shape[1] * self.dim * (v * k).square().sum()",
        "total = total + self.values.shape[2] * self.dim * (v * k).square().sum()",
        "test_diagnostics.py::test_expected_values_and_errors_are_those_of_full_matrices",
        draw=0,
    ),
    Break(
        "diagnosis",
        "diagnostics/_diagnose",
        "diagnosis: everything is rounding",
        "eps = 10 * len(values) * torch.finfo(values.dtype).eps",
        "eps = 10 * len(values) / torch.finfo(values.dtype).eps",
        (
            "test_diagnostics.py::test_an_exact_model_leaves_white_noise_of_the_right_size "
            "test_data_without_noise_leave_rounding"
        ),
        draw=1,
    ),
    Break(
        "diagnosis",
        "diagnostics/_residuals",
        "residuals: no piece is too large",
        draw=2,
        replaced="changes memory only",
    ),
    Break(
        "diagnosis",
        "diagnostics/_diagnose",
        "diagnosis: the numbers of an examined set are unknown",
        "if not len(index):",
        "if bool(len(index)):",
        "test_diagnostics.py::test_an_exact_model_leaves_white_noise_of_the_right_size",
        draw=3,
    ),
    Break(
        "diagnosis",
        "diagnostics/_verdict",
        "report: the chance of half the step is left out",
        "chance = math.nan if d.half_step_p is None else d.half_step_p",
        "chance = math.nan if d.half_step_p is not None else d.half_step_p",
        "test_survivors.py::test_the_report_tells_the_chance_of_half_the_step_where_it_is_known",
        draw=4,
    ),
    Break(
        "diagnosis",
        "diagnostics/_residuals",
        "residuals: a fit takes nothing from the expected squares",
        "total[half] -= 2 * inner.diagonal(dim1=1, dim2=2).sum()",
        "pass",
        "test_diagnostics.py::test_expected_values_and_errors_are_those_of_full_matrices",
        draw=5,
    ),
    Break(
        "diagnosis",
        "diagnostics/_diagnose",
        "half the step: the same step again",
        "optimise(model, some, 2 * substeps,",
        "optimise(model, some, substeps,",
        "test_diagnostics.py::test_half_the_step_of_a_second_order_method_leaves_a_quarter_of_its_error",
    ),
    Break(
        "reproduction",
        "results/_table",
        "tables: the page does not escape what a cell says",
        'return f"<{kind}{told}>{html.escape(text)}</{kind}>"',
        'return f"<{kind}{told}>{text}</{kind}>"',
        "test_results_table.py::test_a_page_has_headings_a_caption_and_nothing_unescaped",
    ),
    Break(
        "reproduction",
        "experiments/length_scan",
        "scan of lengths: a row is within a fifth, not within a tenth",
        '"within": int((np.abs(ours / paper - 1) < 0.1).sum()),',
        '"within": int((np.abs(ours / paper - 1) < 0.2).sum()),',
        "test_length_scan.py::test_the_stored_scan_is_that_of_the_stored_curves",
    ),
    Break(
        "reproduction",
        "experiments/reproduction/_results",
        "stretches read off a curve begin at its start",
        "return float(np.mean(self.curve[against][begin:end])), math.nan",
        "return float(np.mean(self.curve[against][:end])), math.nan",
        "test_reproduction.py::test_any_stretch_is_read_off_a_stored_cell",
    ),
    Break(
        "reproduction",
        "experiments/chain_iso",
        "baselines of the chain: a rollout begins at the second state",
        '"true H, leapfrog, noisy start": ("true", None),',
        '"true H, leapfrog, noisy start": ("exact", None),',
        "test_experiments.py::test_the_stored_baselines_are_those_that_the_script_computes",
        draw=0,
    ),
    Break(
        "reproduction",
        "experiments/_store",
        "stored results: an unknown name is not refused in words",
        '_checks.choice(name, "result", sorted(path.stem for path in FOLDER.glob("*.json")))',
        "pass",
        "test_experiments.py::test_an_unknown_result_lists_the_known_ones",
        draw=1,
    ),
    Break(
        "reproduction",
        "experiments/reproduction/_published",
        "a published deviation is doubled",
        "(0.88, 0.33), (1.76",
        "(0.88, 0.66), (1.76",
        "test_survivors.py::test_published_numbers_add_up",
        draw=2,
    ),
    Break(
        "reproduction",
        "experiments/reproduction/_sweep",
        "sweep: the bar stands still",
        draw=3,
        replaced="moves nothing but the progress bar",
    ),
    Break(
        "reproduction",
        "experiments/billiard",
        "rooms that are not seen: a corner outside of the picture",
        draw=4,
        replaced="refused as the module is imported: no test comes to run",
    ),
    Break(
        "reproduction",
        "experiments/chain_iso",
        "chain script: a line is not printed",
        draw=5,
        replaced="prints for the eye",
    ),
    Break(
        "reproduction",
        "experiments/reproduction/_work",
        "a cell that trains nothing took a second",
        '"wall_time_s": 0.0,',
        '"wall_time_s": 1,',
        "test_survivors.py::test_what_is_not_trained_takes_no_time",
        draw=6,
    ),
    Break(
        "reproduction",
        "experiments/reproduction/_jobs",
        "the estimated cost of a job falls with the time of an epoch",
        "seconds = epochs * _SECONDS.get((fit.problem, fit.net, mode), 1.0)",
        "seconds = epochs / _SECONDS.get((fit.problem, fit.net, mode), 1.0)",
        "test_survivors.py::test_a_fit_whose_epochs_take_longer_is_the_dearer_one",
        draw=7,
    ),
    Break(
        "reproduction",
        "experiments/reproduction/_work",
        "cells: a result that is not a number is stored as 0",
        "return x if math.isfinite(x) else None",
        "return x if math.isfinite(x) else 0.0",
        "test_survivors.py::test_a_prediction_that_diverges_is_counted_and_has_no_mean",
    ),
    Break(
        "reproduction",
        "experiments/reproduction/_work",
        "cells: no prediction is said to have diverged",
        '"diverged": int(bad.sum()),',
        '"diverged": 0,',
        "test_survivors.py::test_a_prediction_that_diverges_is_counted_and_has_no_mean",
    ),
    Break(
        "reproduction",
        "experiments/reproduction/_work",
        "cells: a result of another configuration counts as finished",
        "(cell.digest(), job.preset)",
        "(stored.get('config_hash'), job.preset)",
        "test_reproduction.py::test_what_another_configuration_or_size_has_computed_is_done_again",
    ),
    Break(
        "systems",
        "systems/three_body",
        "three bodies: the starts are not perturbed",
        "velocity = velocity * (1 + perturbation * uniform(-1, 1, (drawn, 3, 2), generator))",
        "pass",
        (
            "test_systems_three_body.py::test_the_layout_of_the_starts "
            "test_a_shared_perturbation_is_one_draw_for_the_batch"
        ),
        draw=0,
    ),
    Break(
        "systems",
        "systems/_contacts",
        "billiard: a point has a corner at the origin",
        draw=1,
        replaced="no ball of radius 0 meets a corner of radius 0 outside of its room",
    ),
    Break(
        "systems",
        "systems/_raster",
        "room: a picture of bytes up to 255 is not told to divide",
        ("if picture.min() < 0 or picture.max() > 1:\n        raise ValueError("),
        ("if picture.min() < 0 or picture.max() > 1:\n        ValueError("),
        "test_systems_billiard.py::test_refusals",
        draw=2,
    ),
    Break(
        "systems",
        "systems/double_pendulum",
        "double pendulum: four angles",
        ("dim = 2\n    separable = False"),
        ("dim = 4\n    separable = False"),
        "test_systems_nonlinear.py::test_the_double_pendulum_from_its_lagrangian",
        draw=3,
    ),
    Break(
        "systems",
        "systems/_raster",
        "raster: the last sample row of an edge is one further",
        draw=4,
        replaced="can only end in NumPy's division by zero at any level wall",
    ),
    Break(
        "systems",
        "systems/_bouncing",
        "billiard: a hop on a corner counts as a bounce later",
        draw=5,
        replaced="a margin that tells hops, of height 1, from bounces: 4 does as well as 2",
    ),
    Break(
        "systems",
        "systems/spring_chain",
        "chain: an unknown start rule is taken for free masses",
        '_checks.choice(start, "start", STARTS)',
        "pass",
        (
            "test_systems_spring_chain.py::test_start_rules "
            "test_systems_contract.py::test_bad_options"
        ),
        draw=6,
    ),
    Break(
        "systems",
        "systems/spring_chain",
        "chain: the exact motion of another time",
        "torch.linalg.matrix_exp(dt * self.matrix())",
        "torch.linalg.matrix_exp(-dt * self.matrix())",
        "test_systems_spring_chain.py::test_the_exact_truth_against_an_adaptive_solver",
    ),
]


# --------------------------------------------------------------------------------- the runs
# What a forked process need not import again; it imports the library from the copy itself.
_PRELOAD = ["pytest", "hypothesis", "jaxtyping", "torch", "torch.func", "scipy.integrate"]
_PRELOAD += ["scipy.optimize", "matplotlib.pyplot", "safetensors.torch"]
# Failures that are kills wherever they are raised, and those that are when srnn raises them.
_ANYWHERE = {"AssertionError", "Failed"}
_NAMED = {"ValueError", "TypeError"}


@dataclass
class Result:
    """What became of a break: "killed", "survived", "crashed", "hung", "not found"."""

    area: str
    what: str
    drawn: bool
    outcome: str = ""
    by: str = ""
    seconds: float = 0.0


def _pytest(folder: str, arguments: list[str], log: str) -> None:
    """Run the tests of a copy, in a process of its own."""
    os.chdir(folder)
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ |= {"PYTHONPATH": folder, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    sys.dont_write_bytecode = False  # compiled once a copy: a changed file has another time
    sys.path[:] = [folder, *(p for p in sys.path if ROOT not in (Path(p), Path(p).parent))]
    import importlib.util

    spec = importlib.util.find_spec("srnn")
    if spec is None or not str(spec.origin).startswith(folder):
        raise ImportError(f"The tests would run on {spec}, not on the copy in {folder}.")
    import pytest

    code = pytest.main(arguments)
    sys.stdout.flush()
    os._exit(code)


class Copy:
    """A copy of the files that git tracks, one break at a time applied to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.clock = time.time()
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"],
            check=True,
            capture_output=True,
        )
        for name in listed.stdout.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)
        tree = ast.parse((self.folder / "srnn" / "errors.py").read_text("utf-8"))
        self.named = _NAMED | {node.name for node in tree.body if isinstance(node, ast.ClassDef)}

    def find(self, snippet: str) -> list[Path]:
        """Files of the library that hold a snippet, each as often as it stands there."""
        files = sorted((self.folder / "srnn").rglob("*.py"))
        return [file for file in files for _ in range(file.read_text("utf-8").count(snippet))]

    def write(self, file: Path, text: str) -> None:
        """Write a source file with a time that no compiled file knows."""
        file.write_text(text, "utf-8")
        self.clock += 2
        os.utime(file, (self.clock, self.clock))

    def test(self, selectors: list[str], fails: int, limit: float = SECONDS) -> tuple[str, str]:
        """Run tests; tell what became of them, and by what."""
        report, log = self.folder / "report.xml", self.folder / "report.log"
        report.unlink(missing_ok=True)
        # Without the check of shapes at run time, which takes longer than most of these tests.
        arguments = ["-q", "-o", "addopts=--strict-markers", "-p", "_hypothesis_pytestplugin"]
        arguments += ["-p", "no:cacheprovider", "--durations=10"]
        arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning", f"--maxfail={fails}"]
        arguments += [f"--junitxml={report}", *(f"tests/{each}" for each in selectors)]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["__main__", *_PRELOAD])
        process = context.Process(target=_pytest, args=(str(self.folder), arguments, str(log)))
        process.start()
        process.join(limit)
        if process.is_alive():
            process.kill()
            process.join()
            return "hung", f"more than {limit} s"
        if process.exitcode == 0:
            return "survived", ""
        if not report.exists():
            tail = log.read_text("utf-8", "replace").strip().splitlines()[-1:]
            return "crashed", " ".join(tail)
        found = list(self._failures(report))
        if process.exitcode != 1 or not found:
            return "crashed", found[0][1] if found else f"pytest ended with {process.exitcode}"
        return next((each for each in found if each[0] == "killed"), found[0])

    def _failures(self, report: Path) -> Iterator[tuple[str, str]]:
        for case in ET.parse(report).iter("testcase"):
            for problem in (*case.findall("failure"), *case.findall("error")):
                name, text = case.get("name", ""), (problem.text or "").strip()
                end = re.search(r"(\S+):\d+: (?:[\w.]*\.)?(\w+)\s*$", text)
                where, kind = end.groups() if end else ("", problem.get("message", "")[:80])
                inside = not Path(where).is_absolute() and "site-packages" not in where
                kill = kind in _ANYWHERE or (kind in self.named and inside)
                kill = kill or _in_raises(text)  # another error than the one that is asked for
                kill = (
                    kill
                    and bool(case.get("classname"))
                    and "collection" not in str(problem.get("message"))
                )
                yield "killed" if kill else "crashed", f"{name}: {kind}"

    def run(self, each: Break) -> Result:
        """Apply a break, run its tests, and undo it."""
        result = Result(each.area, each.what, each.draw is not None)
        begin = time.monotonic()
        places = self.find(each.old)
        if len(places) != 1:
            result.outcome, result.by = "not found", f"{each.old!r} stands {len(places)} times"
            return result
        text = places[0].read_text("utf-8")
        self.write(places[0], text.replace(each.old, each.new))
        try:
            result.outcome, result.by = self.test(each.selectors, 3)
        finally:
            self.write(places[0], text)
        result.seconds = round(time.monotonic() - begin, 1)
        return result


def _in_raises(text: str) -> bool:
    """Whether the line of the test that failed stands under a ``with pytest.raises(...)``."""
    lines = text.splitlines()
    at = next((k for k, line in enumerate(lines) if line.startswith(">")), 0)
    depth = len(lines[at][1:]) - len(lines[at][1:].lstrip())
    for line in reversed(lines[:at]):
        if line.strip() and len(line) - 1 - len(line[1:].lstrip()) < depth:
            if "pytest.raises(" in line:
                return True
            if not line.strip().startswith(")"):
                return False
    return False


def _table(results: list[Result]) -> str:
    rows = []
    for area in AREAS:
        of = [each for each in results if each.area == area]
        if of:
            rows.append(f"{area:14}{sum(x.outcome == 'killed' for x in of):3} of {len(of)}")
    killed = sum(each.outcome == "killed" for each in results)
    drawn = sum(each.drawn for each in results)
    rows.append(f"{'all':14}{killed:3} of {len(results)}, {drawn} of them drawn")
    return "\n".join(rows)


def main() -> int:
    """Run the list; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="an area, or words of a description")
    parser.add_argument("--jobs", type=int, default=1, help="copies to work on at a time")
    parser.add_argument("--list", action="store_true", help="print the breaks and run nothing")
    parser.add_argument("--draws", metavar="AREA", help="print what is drawn in an area")
    parser.add_argument("--results", type=Path, help="write what came out as JSON")
    given = parser.parse_args()
    if given.draws:
        sources = _sources()
        for number, edit in zip(range(12), draws(given.draws, sources), strict=False):
            old, new = (
                text.splitlines()[edit.line - 1].strip()
                for text in (sources[edit.path], _apply(sources[edit.path], edit))
            )
            print(f"{number} {edit.path}:{edit.line} {edit.kind}\n  {old}\n  {new}")
        return 0
    chosen = [x for x in BREAKS if given.only == x.area or given.only in f"{x.area}: {x.what}"]
    if given.list:
        for each in chosen:
            drawn = "chosen" if each.draw is None else f"drawn {each.draw}"
            why = f" [replaced: {each.replaced}]" if each.replaced else ""
            print(f"{each.area:14}{drawn:10}{each.at:34}{each.what}{why}")
        return 0
    chosen = [each for each in chosen if not each.replaced]
    if not chosen:
        parser.error(f"no break is called {given.only!r}; areas: {', '.join(AREAS)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for number in range(given.jobs):
            copies.put(Copy(Path(folder) / str(number)))
        copy = copies.get()
        union = sorted({test for each in chosen for test in each.selectors})
        outcome, by = copy.test(union, 1000, 3600)
        copies.put(copy)
        if outcome != "survived":
            log = (copy.folder / "report.log").read_text("utf-8", "replace")
            print(log[-4000:], f"\nWithout any break, a named test fails: {by}", file=sys.stderr)
            return 1

        def run(each: Break) -> Result:
            copy = copies.get()
            try:
                result = copy.run(each)
            finally:
                copies.put(copy)
            print(f"{result.outcome:10}{each.area:14}{each.what}\n{'':24}{result.by}", flush=True)
            return result

        with ThreadPoolExecutor(given.jobs) as pool:
            results = list(pool.map(run, chosen))
    print(_table(results))
    if given.results:
        given.results.write_text(json.dumps([asdict(each) for each in results], indent=1) + "\n")
    killed = sum(each.outcome == "killed" for each in results)
    lost = any(each.outcome == "not found" for each in results)
    return int(lost or killed < LEAST * len(results))


if __name__ == "__main__":
    sys.exit(main())
