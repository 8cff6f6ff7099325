r"""Integrators: each method is data, each family of methods has one driver.

===================== ===== ========== ==========================================================
name                  order symplectic method
===================== ===== ========== ==========================================================
euler                 1     no         equation (3) of the paper
symplectic-euler      1     yes        kick, then drift
leapfrog              2     yes        equation (4) of the paper: kick, drift, kick
leapfrog-drift        2     yes        drift, kick, drift
leapfrog-reused-kick  2     yes        leapfrog as the paper's code applies it to an O-NET
yoshida4, 6, 8        4,6,8 yes        symmetric compositions of leapfrog, Yoshida (1990)
rk4                   4     no         the classical Runge-Kutta method
implicit-midpoint     2     yes        for any H, by Newton's method
tao2, tao4            2, 4  yes        in its extended space; any H, explicit, Tao (2016)
===================== ===== ========== ==========================================================

A step of Tao's is symplectic in its extended space, which holds a second copy of phase space; the
map of (q, p) that a user sees is so only nearly.

A splitting method is a list of kicks :math:`p \leftarrow p + c\,\Delta t\,f_p` and drifts
:math:`q \leftarrow q + c\,\Delta t\,f_q`.  It is symplectic, and has its order, if H = K(p) + V(q);
a non-separable H is refused.

**Leapfrog and an O-NET.**  Equation (4) does not say at which momentum an O-NET f(q, p) gives the
force.  ``leapfrog`` evaluates it at the current state for every kick, which makes a step a function
of the state alone.  ``leapfrog-reused-kick`` is the convention of the paper's published code: the
force found for the last kick of a step, at :math:`(q_{n+1}, p_{n+1/2})`, serves the first kick of
the next step again.  For a separable H the two are the same method.  On a field whose force
depends on p both are of order 1 only: the declared orders are those for H = K(p) + V(q).
"""

from srnn.motion.integrators._implicit import ImplicitMidpoint
from srnn.motion.integrators._protocol import Integrator
from srnn.motion.integrators._step import Step
from srnn.motion.integrators._table import (
    FAMILIES,
    RungeKutta,
    Splitting,
    available,
    get,
    rescaled,
    says,
)
from srnn.motion.integrators._tao import Tao

__all__ = [
    "FAMILIES",
    "ImplicitMidpoint",
    "Integrator",
    "RungeKutta",
    "Splitting",
    "Step",
    "Tao",
    "available",
    "get",
    "rescaled",
    "says",
]
