"""The address of the quadratic Hamiltonian, which stands with the H-NET that it is a part of."""

from srnn.nn.hnet import QuadraticForm, QuadraticH

__all__ = ["QuadraticForm", "QuadraticH"]
