"""The errors that are the library's own.

Bad input raises the built-in ``ValueError`` or ``TypeError`` with a text that says what was
expected and what came.  The classes here are for what can go wrong later, in the middle of work.
"""

__all__ = ["CheckpointError", "ConvergenceError", "SrnnError", "TrainingDiverged"]


class SrnnError(Exception):
    """Root of the library's own errors.

    Examples
    --------
    >>> from srnn.errors import CheckpointError, SrnnError
    >>> issubclass(CheckpointError, SrnnError)
    True
    """


class ConvergenceError(SrnnError):
    """An iteration (Newton's method of an implicit integrator) did not reach its tolerance."""


class CheckpointError(SrnnError):
    """A file is truncated, is not one of the library's, or belongs to another model or run."""


class TrainingDiverged(SrnnError):
    """The training loss stopped being a finite number.

    The model is left with the last good weights.

    Attributes
    ----------
    epoch : int
        The epoch (from 1) in which the loss stopped being finite.
    history : object
        The :class:`srnn.History` of the epochs before.
    """

    def __init__(self, message: str, *, epoch: int, history: object) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.history = history
