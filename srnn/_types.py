"""Tensor types with named axes, each defined once.

The axes: ``time`` counts states from t = 0, ``batch`` counts trajectories, ``two_d`` is the
phase-space axis ``(q, p)`` of length 2d, ``d`` is one half of it.  A leading ``*batch`` stands for
any number of axes, none included.  The test suite checks these at run time.
"""

from jaxtyping import Float, Int
from torch import Tensor

State = Float[Tensor, "*batch two_d"]
"""States: the last axis is (q, p)."""

Half = Float[Tensor, "*batch d"]
"""Positions or momenta."""

Energy = Float[Tensor, "*batch"]
"""One number a state."""

StateSeries = Float[Tensor, "time *batch two_d"]
"""States over time, time first."""

TrajectoryValues = Float[Tensor, "time batch two_d"]
"""The values of a set of trajectories."""

TrajectoryHalf = Float[Tensor, "time batch d"]
"""Positions or momenta of a set of trajectories."""

Jacobians = Float[Tensor, "*batch two_d two_d"]
"""Jacobians of a map from states to states."""

JacobianSeries = Float[Tensor, "time *batch two_d two_d"]
"""Jacobians of a flow map over time, time first."""

SingularPairs = Float[Tensor, "*batch d 2"]
"""Singular values in pairs."""

Defect = Float[Tensor, "*batch"]
"""One number a matrix."""

Hessians = Float[Tensor, "*batch d d"]
"""Second derivatives in positions or in momenta."""

Picture = Float[Tensor, "rows columns"]
"""A picture; row 0 is at the top."""

Patches = Float[Tensor, "*batch samples"]
"""What is seen of a picture around some places."""

PerState = Float[Tensor, "time batch"]
"""One number a state of a set of trajectories."""

PerTrajectory = Float[Tensor, " batch"]
"""One number a trajectory."""

Status = Int[Tensor, " batch"]
"""One integer code a trajectory; 0 means all is well."""
