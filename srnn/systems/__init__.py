"""Systems with known Hamiltonians: their energies, gradients, starts and true motion.

======================= === ========= ========================================================
class                   d   separable truth
======================= === ========= ========================================================
:class:`SpringChain`    N   yes       exact (matrix exponential), or the paper's fine leapfrog
:class:`ThreeBody`      6   yes       adaptive, SciPy's DOP853
:class:`Pendulum`       1   yes       adaptive
:class:`MassSpring`     1   yes       exact (closed form)
:class:`TwoBody`        4   yes       adaptive
:class:`HenonHeiles`    2   yes       adaptive
:class:`FPUT`           N   yes       adaptive
:class:`DoublePendulum` 2   no        adaptive
:class:`Billiard`       2   yes       exact, from bounce to bounce, in a :class:`Room`
======================= === ========= ========================================================

Units are the user's own: every formula holds in any consistent set of them.
"""

from srnn.systems._base import SeparableSystem, System
from srnn.systems._bouncing import Bounces
from srnn.systems._gravity import PlanarGravity
from srnn.systems._truth import AdaptiveTruth, OrbitStatus
from srnn.systems.billiard import Billiard
from srnn.systems.double_pendulum import DoublePendulum
from srnn.systems.fput import FPUT
from srnn.systems.henon_heiles import HenonHeiles
from srnn.systems.mass_spring import MassSpring
from srnn.systems.pendulum import Pendulum
from srnn.systems.quadratic import QuadraticHamiltonian
from srnn.systems.room import Room
from srnn.systems.spring_chain import SpringChain
from srnn.systems.three_body import ThreeBody
from srnn.systems.two_body import TwoBody

__all__ = [
    "FPUT",
    "AdaptiveTruth",
    "Billiard",
    "Bounces",
    "DoublePendulum",
    "HenonHeiles",
    "MassSpring",
    "OrbitStatus",
    "Pendulum",
    "PlanarGravity",
    "QuadraticHamiltonian",
    "Room",
    "SeparableSystem",
    "SpringChain",
    "System",
    "ThreeBody",
    "TwoBody",
]
