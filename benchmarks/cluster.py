"""What a cluster costs: a model that sleeps, on 2 to 16 worker processes of Dask.

    python benchmarks/cluster.py [--quick] [--readme]

For batches of 10 ms, 100 ms and 1 s it measures the efficiency (time asleep over time of all
workers), the bytes that the driver sends per batch, and the processor time per batch of driver and
scheduler. Workers and scheduler are processes of this machine, so that the network costs nothing
and the processors are shared; sleeping costs none.

The law: a batch of s seconds takes (s + w)/n + d of n workers, w of their own and d one after the
other in driver and scheduler. Workers beyond (s + w)/d have nothing to do. d is fitted to the times
measured, and bounded from below by the processor time of the busier of driver and scheduler, which
does not depend on what else the machine computes. Tables go to results/cluster.json, with the load
of the machine; --readme prints them from there, and `python -m benchmarks --pages` writes them into
docs/cluster.md.
"""

import argparse
import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from smcweights.execution import open_run

RESULTS = Path(__file__).parent / "results" / "cluster.json"
SECONDS = (0.01, 0.1, 1.0)
MANY = 1_000  # workers, of which the law is asked


def sleep(seconds, number):
    """A batch whose result is as large as that of a thousand draws."""
    time.sleep(seconds)
    return np.full(1_000, float(number))


@contextlib.contextmanager
def command(*arguments):
    """A process of Dask's command line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def processor_time(pid):
    """Seconds of processor time of a process so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def counted(sent):
    """Count the bytes that this process writes to its connections of Dask."""
    from distributed.comm.tcp import TCP

    write = TCP.write

    async def counting(self, *given, **named):
        number = await write(self, *given, **named)
        sent.append(number or 0)
        return number

    TCP.write = counting
    try:
        yield
    finally:
        TCP.write = write


def measure(client, scheduler, n, seconds, batches):
    """One row: so many batches of so many seconds on n workers."""
    jobs = [(seconds, i) for i in range(batches)]
    with open_run(sleep, executor=client.get_executor()) as run:
        run.map("warm", jobs[: 2 * n])
        sent = []
        before = time.process_time(), processor_time(scheduler), time.perf_counter()
        with counted(sent):
            found = run.map("measured", jobs)
        driver, its, wall = (
            after - start
            for after, start in zip(
                (time.process_time(), processor_time(scheduler), time.perf_counter()),
                before,
                strict=True,
            )
        )
    assert [float(part[0]) for part in found] == list(range(batches))
    return {
        "workers": n,
        "seconds": seconds,
        "batches": batches,
        "wall": round(wall, 3),
        "efficiency": round(batches * seconds / n / wall, 4),
        "bytes_sent": round(sum(sent) / batches),
        "bytes_returned": len(pickle.dumps(found[0])),
        "driver": round(driver / batches, 6),
        "driver_share": round(driver / wall, 4),
        "scheduler": round(its / batches, 6),
    }


def fit(rows):
    """The two parts of the law, w and d, by least squares of relative errors, none below zero."""
    from scipy.optimize import nnls

    wall = np.array([row["wall"] / row["batches"] for row in rows])
    n = np.array([row["workers"] for row in rows])
    s = np.array([row["seconds"] for row in rows])
    terms = np.stack([1 / n, np.ones(len(rows))], axis=1) / wall[:, None]
    (w, d), _ = nnls(terms, 1 - s / n / wall)
    errors = terms @ [w, d] + s / n / wall - 1
    # the busier of the two, as both work at the same time; by many short batches, because both
    # have a heartbeat that has nothing to do with batches
    short = [row for row in rows if row["seconds"] == min(SECONDS)]
    busy = max(np.median([row[who] for row in short]) for who in ("driver", "scheduler"))
    return {
        "worker_overhead": float(w),
        "serial_fitted": float(d),
        "serial_processor_time": float(busy),
        "largest_error": float(np.abs(errors).max()),
    }


def run(quick):
    """Workers join one after the other: those of fewer are among those of more."""
    import distributed

    numbers = (2, 4) if quick else (2, 4, 8, 16)
    asleep = 0.3 if quick else 2.0  # seconds that each worker sleeps
    rows = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        place = str(Path(folder, "scheduler.json"))
        here = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", place)
        scheduler = stack.enter_context(command("scheduler", "--port", "0", *here))
        client = distributed.Client(scheduler_file=place, timeout=120)
        stack.callback(client.close)
        started = 0
        for n in numbers:
            own = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0")
            for _ in range(n - started):
                stack.enter_context(command("worker", *own, "--local-directory", folder, *here))
            client.wait_for_workers(n, timeout=300)
            started = n
            for seconds in SECONDS:
                batches = min(max(round(asleep / seconds), 3) * n, 300)
                rows.append(measure(client, scheduler.pid, n, seconds, batches))
                print(json.dumps(rows[-1]), flush=True)
    load = [round(one, 2) for one in os.getloadavg()]
    return {"processors": os.cpu_count(), "load": load, "rows": rows, "law": fit(rows)}


def page(found):
    """The tables in Markdown, and what the law says of a thousand workers."""
    law = found["law"]
    lines = [
        "| workers | batch | efficiency | bytes sent per batch | driver's share | driver's time | "
        "scheduler's |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['workers']} | {1e3 * row['seconds']:,.0f} ms | {row['efficiency']:.1%} "
        f"| {row['bytes_sent']:,} | {row['driver_share']:.1%} | {1e3 * row['driver']:.2f} ms "
        f"| {1e3 * row['scheduler']:.2f} ms |"
        for row in found["rows"]
    ]
    w = law["worker_overhead"]
    lines += [
        "",
        f"{found['processors']} processors, load {found['load'][0]} when it ended. The law "
        f"(s + {1e3 * w:.1f} ms)/n + {1e3 * law['serial_fitted']:.2f} ms fits all times to "
        f"{law['largest_error']:.0%}; by processor time, the serial part is "
        f"{1e3 * law['serial_processor_time']:.2f} ms. Processor time doesn't depend on the load; "
        "where it is above the number of processors, efficiency and fit are those of a crowded "
        "machine.",
        "",
        f"| serial part d | workers busy with batches of 100 ms, 1 s, 10 s | {MANY:,} workers half "
        "busy | 90 % busy |",
        "|---|---|---|---|",
    ]
    for name, d in (
        ("as fitted, this machine", law["serial_fitted"]),
        ("processor time, a driver of its own", law["serial_processor_time"]),
    ):
        if d == 0:  # few rows of a crowded machine may show none
            lines.append(f"| none, {name} | any number | batches of any length | of any length |")
            continue
        busy = ", ".join(f"{(s + w) / d:,.0f}" for s in (0.1, 1.0, 10.0))
        half, most = ((share / (1 - share) * MANY * d - w) for share in (0.5, 0.9))
        lines.append(
            f"| {1e3 * d:.2f} ms, {name} | {busy} | batches of {half:.1f} s | of {most:.1f} s |"
        )
    half, most = (odds * MANY * law["serial_processor_time"] - w for odds in (1, 9))
    lines += [
        "",
        f"So {MANY:,} workers saturate one driver with batches shorter than {half:.1f} s, which "
        "keep half of them busy, where driver and scheduler have a core of their own each; 90 % "
        f"are busy from {most:.0f} s on. Let batches of a cluster take a minute rather than a "
        "second.",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2 and 4 workers, nothing kept")
    parser.add_argument("--readme", action="store_true", help="print the tables that were kept")
    options = parser.parse_args()
    if options.readme:
        found = json.loads(RESULTS.read_text())
    else:
        found = run(options.quick)
        if not options.quick:
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(page(found))


if __name__ == "__main__":
    main()
