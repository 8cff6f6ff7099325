"""The augmented step: a tentative step, and where it meets a wall, the rebound inside it."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from srnn import _checks
from srnn._types import Half, State
from srnn.motion import integrators
from srnn.motion.fields import Field
from srnn.motion.integrators import Integrator

__all__ = ["Rebound", "Walls", "reflect", "with_rebound"]

_GRAZING = 1e-3  # speed across a wall, in units of its mean over the step


@runtime_checkable
class Walls(Protocol):
    r"""What a rebound step asks of walls: (q, tentative q) to (n, :math:`\alpha`).

    n, shape ``(..., dim)``, is zero where there is no rebound, else along the wall's normal (either
    sign), of length 1 for a rebound without loss.  :math:`\alpha`, shape ``(..., 1)``, is the
    rebound's place within the step, from 0 to 1.

    Walls with an attribute ``straight = True`` give :math:`\alpha` on the straight line between the
    two positions; the step then corrects it for the curvature of the way.

    Examples
    --------
    >>> import torch
    >>> def floor(q, tentative):
    ...     hit = (tentative[..., 1:] < 0).to(q)
    ...     alpha = q[..., 1:] / (q[..., 1:] - tentative[..., 1:]).clamp(min=1e-9)
    ...     return torch.cat((0 * hit, hit), dim=-1), alpha.clamp(0, 1)
    >>> isinstance(floor, Walls)
    True
    """

    def __call__(self, q: Tensor, tentative: Tensor) -> tuple[Tensor, Tensor]:
        """Give n and alpha of the step from `q` to `tentative`."""
        ...  # pragma: no cover


def reflect(p: Half, n: Half) -> Half:
    r"""Reflect momenta, equation (5) of the paper: :math:`p - 2\,(p \cdot n)\,n`.

    The component along n is multiplied by :math:`1 - 2|n|^2`: a unit vector reverses it; a shorter
    one loses energy, with restitution :math:`e = 2|n|^2 - 1`, and one of length below
    :math:`\sqrt{1/2}` lets the ball through the wall.

    Parameters
    ----------
    p, n : Tensor, shape (..., dim)

    Returns
    -------
    Tensor, shape (..., dim)

    Examples
    --------
    >>> import torch
    >>> reflect(torch.tensor([3.0, -4.0]), torch.tensor([0.0, 1.0]))
    tensor([3., 4.])
    """
    return p - 2 * (p * n).sum(dim=-1, keepdim=True) * n


def advanced(method: Integrator, field: Field, z: Tensor, dt: Any) -> Tensor:
    """Take one step of a method, whose length may differ from state to state."""
    return method.read(method.step(field, method.init(field, z), dt))


class _Bounced(NamedTuple):
    inner: Any  # the state of the method without walls
    n: tuple[Tensor, ...]  # one a rebound that the last step may have made
    alpha: tuple[Tensor, ...]  # in units of the whole step


class Rebound:
    r"""A method whose every step may rebound from walls, equations (6) to (9) of the paper.

    A tentative step of length :math:`\Delta t` gives :math:`\tilde q`; the walls tell n and
    :math:`\alpha`; where n is not zero, the step is made again as a step of
    :math:`\alpha\,\Delta t`, the reflection (5), and a step of :math:`(1 - \alpha)\,\Delta t`.
    Where n is zero, the tentative step stands, to the last bit.

    Parameters
    ----------
    method : str or Integrator
        A method whose step may differ in length from trajectory to trajectory: the splittings and
        the Runge-Kutta methods.
    walls : callable
        See :class:`Walls`.
    rebounds : int
        Most rebounds in one step.  The paper's is 1; in a corner or a narrow gap there are more,
        and the walls are then asked again, for the step from the last wall on.

    Raises
    ------
    TypeError
        If `walls` is not callable.
    ValueError
        If `method` solves for its step or keeps a second copy of phase space.

    Examples
    --------
    A ball that falls on the floor y = 0:

    >>> import torch, srnn
    >>> def floor(q, tentative):
    ...     hit = (tentative[..., 1:] < 0).to(q)
    ...     alpha = q[..., 1:] / (q[..., 1:] - tentative[..., 1:]).clamp(min=1e-9)
    ...     return torch.cat((0 * hit, hit), dim=-1), alpha.clamp(0, 1)
    >>> ball = srnn.systems.Billiard(gravity=0.0)
    >>> z0 = torch.tensor([[0.0, 1.0, 1.0, -2.0]])
    >>> srnn.rollout(ball, Rebound("leapfrog", floor), z0, dt=1.0, steps=1)[-1]
    tensor([[1., 1., 1., 2.]])
    """

    one_dt = True  # no rebounds within those of other walls

    def __init__(self, method: str | Integrator, walls: Any, *, rebounds: int = 1) -> None:
        self.method = integrators.get(method)
        if integrators.says(self.method, "one_dt"):
            raise ValueError(
                "Expected a method whose step may differ from trajectory to trajectory (a "
                f"splitting such as 'leapfrog', or 'euler', 'rk4'); got {self.method.name!r}."
            )
        if not callable(walls):
            raise TypeError(
                "Expected `walls` to be called as walls(q, tentative) and to give (n, alpha); "
                f"got {type(walls).__name__}."
            )
        self.walls = walls
        self.rebounds = _checks.positive_int(rebounds, "rebounds")
        self._straight = bool(getattr(walls, "straight", False))

    @property
    def name(self) -> str:
        """The method's name, and that it rebounds."""
        return f"{self.method.name}+rebound"

    @property
    def order(self) -> int:
        """The method's order, which holds between rebounds."""
        return self.method.order

    @property
    def symplectic(self) -> bool:
        """Whether the method is symplectic, between rebounds."""
        return self.method.symplectic

    def init(self, field: Field, z0: State) -> _Bounced:
        """Start at `z0`."""
        return _Bounced(self.method.init(field, z0), (), ())

    def read(self, state: _Bounced) -> State:
        """(q, p) of a state."""
        return self.method.read(state.inner)

    def step(self, field: Field, state: _Bounced, dt: float) -> _Bounced:
        """One step with its rebounds."""
        inner = self.method.step(field, state.inner, dt)
        here, there = self.method.read(state.inner), self.method.read(inner)
        rest: Any = dt  # what is left of the step; of shape (..., 1) once somebody has rebounded
        normals, places = [], []
        for _ in range(self.rebounds):
            n, alpha = self._ask(_checks.halves(here)[0], _checks.halves(there)[0])
            rest = torch.as_tensor(rest, dtype=here.dtype, device=here.device).expand_as(alpha)
            wall, end, left = self._bounce(field, here, there, n, alpha, rest)
            normals.append(n)
            places.append(1 - left / dt)
            if wall is None:
                break
            here, there, rest = wall, end, left
            inner = self.method.init(field, there)
        return _Bounced(inner, tuple(normals), tuple(places))

    def _bounce(
        self, field: Field, here: Tensor, there: Tensor, n: Tensor, alpha: Tensor, rest: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Rebound where there is something to: states at the wall and at the end, time left.

        A ball that meets no wall stays at its end, with no time left.
        """
        hit = (n != 0).any(dim=-1, keepdim=True)
        rows = _rows(hit)
        if rows is None:  # nobody can tell how many, or all
            wall, end, left = self._reflected(field, here, there, n, alpha, rest)
            both = torch.where(hit, wall, here), torch.where(hit, end, there)
            return *both, torch.where(hit, left, 0.0)
        none = torch.zeros_like(rest)
        if not len(rows):
            return None, there, none
        flat = (x.reshape(-1, x.shape[-1]) for x in (here, there, n, alpha, rest))
        some = self._reflected(field, *(x[rows] for x in flat))
        wall, end, left = (
            x.reshape(-1, x.shape[-1]).index_put((rows,), y).reshape(x.shape)
            for x, y in zip((here, there, none), some, strict=True)
        )
        return wall, end, left

    def _reflected(
        self, field: Field, here: Tensor, there: Tensor, n: Tensor, alpha: Tensor, rest: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Go to the wall, reflect, go on: the states after the second and the third, time left."""
        if self._straight:
            alpha = self._corrected(field, here, there, n, alpha, rest)
        q, p = _checks.halves(self._advance(field, here, alpha * rest))
        after = torch.cat((q, reflect(p, n)), dim=-1)
        left = (1 - alpha) * rest
        return after, self._advance(field, after, left), left

    def _corrected(
        self, field: Field, here: Tensor, there: Tensor, n: Tensor, alpha: Tensor, rest: Tensor
    ) -> Tensor:
        r"""Correct :math:`\alpha` on the straight line for the curvature of the way.

        The wall is where the straight line from q to the tentative position meets it.  Across the
        wall the way is first taken for the parabola that has both ends and the velocity at the
        first, which it is under a constant force; one step of Newton's method does the rest.
        Where n is zero, `alpha` is left as it is.
        """
        (q, p), (tentative, _) = _checks.halves(here), _checks.halves(there)
        way = tentative - q
        foot = q + alpha * way
        across = (n * way).sum(dim=-1, keepdim=True)
        none = across == 0
        across = torch.where(none, 1.0, across)
        speed = rest * (n * field.velocity(q, p)).sum(dim=-1, keepdim=True)
        alpha = _on_parabola(torch.where(none, 1.0, speed / across), alpha)
        q, p = _checks.halves(self._advance(field, here, alpha * rest))
        off = (n * (q - foot)).sum(dim=-1, keepdim=True)
        speed = rest * (n * field.velocity(q, p)).sum(dim=-1, keepdim=True)
        # A ball that grazes hardly moves across the wall: nothing is to be divided by that.
        speed = torch.where(speed / across > _GRAZING, speed, across)
        return (alpha - off / speed).clamp(0, 1)

    def _ask(self, q: Tensor, tentative: Tensor) -> tuple[Tensor, Tensor]:
        n, alpha = self.walls(q, tentative)
        if n.shape != q.shape or alpha.shape != (*q.shape[:-1], 1):
            raise ValueError(
                "Expected the walls to give n of shape (..., dim) and alpha of shape (..., 1), "
                f"here {tuple(q.shape)} and {(*q.shape[:-1], 1)}; got {tuple(n.shape)} and "
                f"{tuple(alpha.shape)}."
            )
        return n, alpha

    def _advance(self, field: Field, z: Tensor, dt: Any) -> Tensor:
        return advanced(self.method, field, z, dt)

    def __repr__(self) -> str:
        more = "" if self.rebounds == 1 else f", rebounds={self.rebounds}"
        return f"Rebound({self.method.name!r}, {type(self.walls).__name__}{more})"


def _on_parabola(ratio: Tensor, chord: Tensor) -> Tensor:
    """When a parabola crosses a wall that its chord crosses at `chord`, in units of the step.

    `ratio` is that of the first speed across the wall to the mean one.  The root between 0 and 1
    of (ratio - 1) a^2 - ratio a + chord = 0, in the form that does not cancel.
    """
    root = (ratio.square() - 4 * (ratio - 1) * chord).clamp(min=1e-30).sqrt()
    towards = 2 * chord / (ratio.clamp(min=0) + root)
    away = (root - ratio.clamp(max=0)) / (2 * (1 - ratio.clamp(max=0)))
    return torch.where(ratio < 0, away, towards).clamp(0, 1)


def _rows(hit: Tensor) -> Tensor | None:
    """Numbers of the balls that rebound; None for all, or where nobody can tell.

    Under a transformation of torch.func nobody can.
    """
    try:
        rows = hit.reshape(-1).nonzero()[:, 0]
    except RuntimeError:
        return None
    return None if len(rows) == hit.numel() else rows


def with_rebound(
    step: str | Integrator,
    walls: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    *,
    rebounds: int = 1,
) -> Rebound:
    """Give a method walls to rebound from: takes a step, returns a step (:class:`Rebound`).

    Examples
    --------
    >>> import torch, srnn
    >>> ball = srnn.systems.Billiard()
    >>> step = with_rebound("leapfrog", srnn.rebound.KnownWalls(ball.room))
    >>> z0 = torch.tensor([[20.0, 14.0, 20.0, -30.0]])
    >>> srnn.rollout(ball, step, z0, dt=0.1, steps=1)[-1, 0, 3] > 0  # it moves up again
    tensor(True)
    """
    return Rebound(step, walls, rebounds=rebounds)
