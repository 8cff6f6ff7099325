r"""How a rollout is differentiated.

=================== ============================= ================================================
``gradient=``       kept from the forward pass    how
=================== ============================= ================================================
None                                              the fastest way there is: "stored", "recompute"
                                                  where that would keep more than a quarter of a
                                                  GiB, "autograd" where neither can be had
"autograd"          the graph of every operation  PyTorch's own differentiation
"stored"            activations                   a backward pass written out by hand
"recompute"         inputs of the rates           the same, activations computed once more
"reversible"        the last state                the same, states rebuilt by stepping backwards
"reversible-exact"  the last state                the same with states in whole multiples of a
                                                  smallest step, which are rebuilt to the last bit
"continuous"        the returned states           the adjoint ODE of Chen et al. (2018), whose
                                                  gradient is that of the exact flow
=================== ============================= ================================================

The four in the middle are for :class:`srnn.nn.HNet` and :class:`srnn.nn.ONet` under the splitting
methods and Euler's (the reversible ones for an H-NET under a splitting method); they are one node
of PyTorch's graph, equal to "autograd" up to rounding, and differentiable again, by PyTorch's own
operations.  Under the transformations of :mod:`torch.func`, in forward mode and under
:func:`torch.compile` they give way to "autograd".
"""

from srnn.motion.adjoint._rollout import GRADIENTS, Gradient

__all__ = ["GRADIENTS", "Gradient"]
