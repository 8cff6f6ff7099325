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
    """An iteration (Newton's method of an implicit integrator) did not reach its tolerance.

    Examples
    --------
    >>> import torch, srnn
    >>> impatient = srnn.integrators.ImplicitMidpoint(iterations=1)
    >>> z0 = torch.tensor([[3.0, 0.1]])
    >>> try:
    ...     _ = srnn.rollout(srnn.systems.Pendulum(), impatient, z0, dt=1.0, steps=5)
    ... except srnn.errors.ConvergenceError:
    ...     print("use a smaller step")
    use a smaller step
    """


class CheckpointError(SrnnError):
    """A file is truncated, is not one of the library's, or belongs to another model or run.

    Examples
    --------
    >>> import pathlib, srnn, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "notes.txt"
    ...     _ = path.write_text("not a model")
    ...     try:
    ...         srnn.load(path)
    ...     except srnn.errors.CheckpointError:
    ...         print("not a model")
    not a model
    """


class TrainingDiverged(SrnnError):
    """The training loss stopped being a finite number.

    The model is left with the last good weights.

    Attributes
    ----------
    epoch : int
        The epoch (from 1) in which the loss stopped being finite.
    history : object
        The :class:`srnn.History` of the epochs before.

    Examples
    --------
    >>> import srnn
    >>> data = srnn.systems.MassSpring().simulate(trajectories=10, steps=9, dt=0.1)
    >>> model = srnn.SRNN(dim=1, hidden=8)
    >>> try:
    ...     model.fit(data, epochs=9, optimizer="sgd", learning_rate=1e30, progress=False)
    ... except srnn.errors.TrainingDiverged as error:
    ...     print(error.epoch, error.history.epochs)
    1 0
    """

    def __init__(self, message: str, *, epoch: int, history: object) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.history = history
