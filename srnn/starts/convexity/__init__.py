r"""Is initial-state optimisation convex?  Appendix C of the paper, computed.

Initial-state optimisation (ISO) minimises, over the start :math:`\hat z_0` of a rollout
:math:`\phi_t(\hat z_0)`,

.. math:: L(\hat z_0) = \sum_t \sum_i w_{ti}\,\big(\phi_{t,i}(\hat z_0) - y_{t,i}\big)^2

for the observed states :math:`y_t`.  With the Jacobian :math:`F_t` of the flow map its Hessian is

.. math::
    \nabla^2 L = \underbrace{2 \sum_t F_t^\top W_t F_t}_{\text{Gauss-Newton}}
    + \underbrace{2 \sum_t \sum_i w_{ti}\,(\phi_{t,i} - y_{t,i})\,
    \frac{\partial^2 \phi_{t,i}}{\partial \hat z_0^2}}_{\text{residual curvature}},

equation (16) of the paper with the factor 2 that its second term lacks.  The Gauss-Newton part is
never indefinite; where the loss is not convex, the residual curvature has outweighed it.
"""

from srnn.motion.flow_map import flow_map, singular_pairs, symplectic_defect
from srnn.starts.convexity._hessian import Conditioning, IsoHessian, conditioning, iso_hessian
from srnn.starts.convexity._scan import (
    AlongLine,
    ConvexRadius,
    EigenvalueGrid,
    convex_radius,
    eigenvalue_along,
    eigenvalue_grid,
)

__all__ = [
    "AlongLine",
    "Conditioning",
    "ConvexRadius",
    "EigenvalueGrid",
    "IsoHessian",
    "conditioning",
    "convex_radius",
    "eigenvalue_along",
    "eigenvalue_grid",
    "flow_map",
    "iso_hessian",
    "singular_pairs",
    "symplectic_defect",
]
