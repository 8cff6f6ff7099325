r"""Initial-state optimisation (ISO): the start from which a model best explains what was observed.

Section 4.3 of the paper: with noise on every observed state, a rollout should not start at the
first one but at the minimiser of :math:`L(\hat z_0) = \sum_t \|\phi_t(\hat z_0) - y_t\|^2`, with
:math:`\phi_t` the rollout to step t and :math:`y_t` what was observed.  A trajectory's start is a
small problem of its own, and all of them are solved at once.
"""

from srnn.starts.iso._methods import METHODS
from srnn.starts.iso._optimise import optimise_initial_state
from srnn.starts.iso._problem import Method, Problem, Solution
from srnn.starts.iso._result import InitialStates, IsoStatus

__all__ = [
    "METHODS",
    "InitialStates",
    "IsoStatus",
    "Method",
    "Problem",
    "Solution",
    "optimise_initial_state",
]
