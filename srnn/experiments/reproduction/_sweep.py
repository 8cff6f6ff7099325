"""Many jobs on many processes: what fails is told, what is killed goes on."""

import contextlib
import json
import os
import sys
import traceback
import uuid
import warnings
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from srnn import _checks
from srnn.data._arrays import whole_file
from srnn.experiments.reproduction._cells import Job
from srnn.experiments.reproduction._work import finished, job_weights, run

__all__ = ["Failure", "sweep", "unfinished"]

_TRIES = 2  # among others; a job that was under way each time is then tried alone
_KILLED = "its process was killed, also with no other job beside it"


class Failure(NamedTuple):
    """A job that raised an exception, or whose process was killed.

    Examples
    --------
    >>> Failure("table1_oracle_zero-none-none-noisy-s0", "OSError: No space left").reason
    'OSError: No space left'
    """

    job: str
    """Its name."""
    reason: str
    """The exception's type and text, or what is known of the process's end."""


class _Outcome(NamedTuple):
    """What became of a job: done, where none of these is said."""

    number: int
    failed: str | None = None
    held: bool = False
    killed: bool = False


def unfinished(jobs: Sequence[Job], folder: str | os.PathLike[str]) -> list[Job]:
    """List the jobs of which a cell is missing.

    Parameters
    ----------
    jobs : sequence of Job
    folder : path-like

    Returns
    -------
    list of Job

    Examples
    --------
    >>> from srnn.experiments.reproduction import jobs
    >>> every = jobs("table3", preset="smoke", seeds=1)
    >>> unfinished(every, "no-such-folder") == every
    True
    """
    folder = Path(folder)
    return [job for job in jobs if not all(finished(folder, job, cell) for cell in job.cells)]


def sweep(
    jobs: Sequence[Job],
    folder: str | os.PathLike[str],
    *,
    workers: int | None = None,
    dask: Any = None,
    progress: bool = True,
) -> list[Failure]:
    """Do what is left of many jobs, each in a process of its own.

    Every job writes its cells as soon as it has them and trains from a checkpoint, so that a sweep
    that was stopped goes on from there when it is called again.  Sweeps of one folder may run at
    the same time: a job that another one is at is left to it.

    Parameters
    ----------
    jobs : sequence of Job
        In the order in which they are started.
    folder : path-like
        Holds ``results``, ``weights``, ``checkpoints``, ``failures`` and ``locks``; made where it
        is missing.
    workers : int, optional
        How many processes; by default one a core.  With 1 the jobs run in this process.
    dask : str or distributed.Client, optional
        The address of a Dask scheduler, or a client of one, whose workers do the jobs.  They need
        the library and the same `folder`, by the same path.  A job that is under way there when
        the sweep is interrupted runs to its end.
    progress : bool
        Whether to show a bar, and beside it what failed or is left to another process.

    Returns
    -------
    list of Failure
        A job that raises an exception does not stop the others; its traceback is in
        ``failures``.  A job whose process was killed is started again, in the end with no
        other beside it; if that is killed, too, it is counted as failed.

    Raises
    ------
    ImportError
        If `dask` is asked for and ``distributed`` is not installed.
    KeyboardInterrupt
        At once, when interrupted; finished cells and checkpoints stay.

    Notes
    -----
    Processes are joblib's.  A cluster is asked through Dask's own client, because joblib 1.6 with
    its Dask backend waits for ever for a job that the scheduler has given up.

    Examples
    --------
    >>> import tempfile
    >>> from srnn.experiments.reproduction import jobs
    >>> known = [job for job in jobs("table1", preset="smoke") if not job.fit.learnt]
    >>> with tempfile.TemporaryDirectory() as there:
    ...     sweep(known, there, workers=1, progress=False)
    ...     unfinished(known, there)
    []
    []
    """
    folder = Path(folder).absolute()  # a worker may be somewhere else
    workers = _cores() if workers is None else _checks.positive_int(workers, "workers")
    left = unfinished(jobs, folder)
    if not left:
        return []
    client, own = _client(dask)
    for name in ("failures", "locks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    bar = tqdm(
        total=sum(job.cost for job in left),
        bar_format="{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        smoothing=0,
        disable=not progress,
        file=sys.stderr,
    )
    try:
        with bar:
            return _Sweep(folder, left, workers, client, bar).failures()
    finally:
        if own:
            client.close()


def _cores() -> int:
    import joblib

    return int(joblib.cpu_count())


def _client(dask: Any) -> tuple[Any, bool]:
    """Return a client of a Dask scheduler, and whether it is ours to close."""
    if not isinstance(dask, str):  # None, too
        return dask, False
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            'A Dask scheduler needs the package "distributed": pip install "srnn[dask]"'
        ) from error
    client: Any = distributed.Client
    return client(dask), True


class _Sweep:
    """One call of `sweep`."""

    def __init__(
        self, folder: Path, jobs: Sequence[Job], workers: int, client: Any, bar: Any
    ) -> None:
        self.folder, self.jobs, self.workers, self.client = folder, jobs, workers, client
        self.bar = bar
        self.name = uuid.uuid4().hex
        self.todo = dict(enumerate(jobs))
        self.broken: Counter[int] = Counter()  # how often a job was under way when the pool broke
        self.failed: list[Failure] = []

    def failures(self) -> list[Failure]:
        """Start what is left until nothing is."""
        # Not with the library: joblib and filelock are for sweeps alone.
        from joblib.externals.loky.process_executor import BrokenProcessPool

        while self.todo:
            batch = [n for n in self.todo if self.broken[n] < _TRIES] or [next(iter(self.todo))]
            outcomes = self._outcomes(batch)
            try:
                for outcome in outcomes:
                    if outcome.killed:
                        self._killed(outcome.number)
                    else:
                        self._done(outcome)
            except KeyboardInterrupt:
                self._say("Stopped. What is finished stays; the same call again goes on from it.")
                raise
            except BrokenProcessPool as error:
                self._broke(error)
            finally:
                with warnings.catch_warnings(action="ignore"):  # joblib ends early without a word
                    outcomes.close()
        return self.failed

    def _outcomes(self, batch: Sequence[int]) -> Generator[_Outcome, None, None]:
        calls = [(n, self.todo[n], self.folder, self.name) for n in batch]
        if self.client is not None:
            return _on_cluster(self.client, calls)
        if self.workers == 1:
            return (_attempt(*call) for call in calls)
        import joblib

        # A pool of one would be this process, which nothing may kill.
        count = max(2, self.workers)
        threads = max(1, _cores() // count)
        with joblib.parallel_config("loky", n_jobs=count, inner_max_num_threads=threads):
            # Few are handed out ahead, so that they start in their order.
            parallel = joblib.Parallel(
                return_as="generator_unordered", pre_dispatch=count, batch_size=1
            )
            outcomes: Any = parallel(joblib.delayed(_attempt)(*call) for call in calls)
        return outcomes  # type: ignore[no-any-return]

    def _done(self, outcome: _Outcome) -> None:
        job = self.todo.pop(outcome.number)
        if outcome.held:
            self._say(f"{job.name}: left to another process, which is at it.")
        if outcome.failed is not None:
            self._fail(job, outcome.failed)
        self.bar.set_postfix_str(f"{job.name}, {len(self.failed)} failed", refresh=False)
        self.bar.update(job.cost)

    def _broke(self, error: BaseException) -> None:
        """Count who was under way, and give up those that break the pool alone."""
        alone = all(self.broken[n] >= _TRIES for n in self.todo)
        suspects = []
        for number, job in list(self.todo.items()):
            mark = _paths(self.folder, job)[1]
            if _read(mark) != self.name:
                continue
            mark.unlink(missing_ok=True)
            if not unfinished([job], self.folder):  # killed after its last cell
                self._done(_Outcome(number))
                continue
            suspects.append(job.name)
            self.broken[number] += 1
            if alone:
                self._done(_Outcome(number, _KILLED))
        if not suspects:  # before any started: nothing to try again without
            for number in list(self.todo):
                self.broken[number] += 1
                if self.broken[number] > _TRIES:
                    self._done(_Outcome(number, f"no worker could start it: {error}"))
        names = ", ".join(suspects) or "none"
        self._say(f"A worker process was killed; going on with new ones. Under way: {names}.")

    def _killed(self, number: int) -> None:
        """Try a job alone that a cluster has given up, or give it up, too."""
        if self.broken[number] >= _TRIES:
            self._done(_Outcome(number, _KILLED))
        else:
            self.broken[number] = _TRIES

    def _fail(self, job: Job, reason: str) -> None:
        self.failed.append(Failure(job.name, reason))
        self._say(f"{job.name} failed: {reason}")

    def _say(self, text: str) -> None:
        if not self.bar.disable:
            self.bar.write(text, file=sys.stderr)


def _on_cluster(client: Any, calls: Sequence[tuple[Any, ...]]) -> Generator[_Outcome, None, None]:
    """Do jobs on Dask's workers.

    The scheduler itself gives a job to another worker when one is lost.
    """
    import distributed

    submit: Any = client.submit
    futures = {submit(_attempt, *call, pure=False): call[0] for call in calls}
    completed: Any = distributed.as_completed
    try:
        for future in completed(futures):
            number = futures[future]
            if future.status == "finished":
                yield future.result()
            elif future.status == "cancelled":
                yield _Outcome(number, "the scheduler has lost it")
            else:
                error = future.exception()
                gone = isinstance(error, distributed.scheduler.KilledWorker)
                reason = None if gone else f"{type(error).__name__}: {error}"
                yield _Outcome(number, reason, killed=gone)
    finally:
        client.cancel([future for future in futures if not future.done()])


def _paths(folder: Path, job: Job) -> tuple[Path, Path]:
    """Tell where the lock of a job is, and the mark of the sweep that has it under way."""
    # Of the weights: two jobs with the same would share a checkpoint.
    name = job_weights(folder, job).stem
    return folder / "locks" / f"{name}.lock", folder / "locks" / f"{name}.json"


def _read(mark: Path) -> str | None:
    try:
        sweep: str = json.loads(mark.read_text(encoding="utf-8"))["sweep"]
    except (OSError, ValueError, KeyError):
        return None
    return sweep


def _attempt(number: int, job: Job, folder: Path, name: str) -> _Outcome:
    """Do a job in a worker and say how it went."""
    from filelock import FileLock, Timeout

    try:
        lock, mark = _paths(folder, job)
        # The system's own lock: it is gone with the process that held it.
        held = FileLock(lock)
        try:
            held.acquire(timeout=0)
        except Timeout:
            if _read(mark) != name:
                return _Outcome(number, held=True)
            # An earlier try of this sweep, whose worker is not gone: it finishes the job.
            held.acquire()
        try:
            # Half of it is as good as none; nothing is left of it beside, if this is killed here.
            mark.write_text(json.dumps({"sweep": name}), encoding="utf-8")
            run(job, folder)
            _failure(folder, job).unlink(missing_ok=True)
        finally:
            mark.unlink(missing_ok=True)
            held.release()
    except Exception as error:
        text = traceback.format_exc()
        with contextlib.suppress(OSError), whole_file(_failure(folder, job)) as beside:
            beside.write_text(text, encoding="utf-8")
        return _Outcome(number, f"{type(error).__name__}: {error}")
    return _Outcome(number)


def _failure(folder: Path, job: Job) -> Path:
    return folder / "failures" / f"{job.name}.txt"
