"""Evaluate a function on numbered batches: in place, in threads, in processes, on a cluster.

A method opens a run around the function it evaluates and hands it batches, stage by stage:

    with open_run(function, executor=executor, checkpoint=checkpoint, seed=seed) as run:
        rng = generator(run.root, "stage 1")
        x = rng.standard_normal((n, d))
        values = run.map("stage 1", [(x[a:b],) for a, b in batches(n)])

Where the batches are evaluated changes nothing in the results, bit for bit:

- what is in a batch follows from the arguments (`batches`), never from the number of workers;
- results come back in the order of the batches;
- every executor gives the function its own C-ordered copies of the arrays, and takes copies of what
  it returns: a function that overwrites its input, or returns the same buffer twice, does no harm.

Which executor when:

- ``None``: fast vectorised functions, where one process is enough;
- ``"threads"``: functions that release the GIL (NumPy on large arrays, numba with ``nogil``, JAX);
- ``"processes"``: all other Python functions. The processes are started by a fork server, because
  forking a process in which JAX or OpenMP ran makes children hang; a worker that dies costs the
  batches it had. ``"threads:4"`` and ``"processes:4"`` set the number of workers;
- any `concurrent.futures.Executor`: ``client.get_executor()`` of Dask, ``MPIPoolExecutor`` of
  mpi4py, a pool kept from run to run. One that forks after JAX or OpenMP ran is refused.

Functions travel by cloudpickle, so lambdas and functions of a notebook will do. What is large goes
to each worker once, with the arrays that the function holds.

A checkpoint is a ledger of results by stage and batch. A later run repeats the method and takes
from the ledger what is there instead of calling the function, so that the method sees the same
numbers as in an uninterrupted run. It is replaced in one step after each stage: a kill at any
moment leaves either the old ledger or the new one. If it can't be written any more, the run goes on
and says so at its end.
"""

from .checkpoint import check_checkpoint
from .run import Run, batches, first_budget, open_run, root_of

__all__ = ["Run", "batches", "check_checkpoint", "first_budget", "open_run", "root_of"]
