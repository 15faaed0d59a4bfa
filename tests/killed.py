"""A run that is killed and taken up again by another executor ends with the same bits."""

import os
import signal
import subprocess
import sys

import cloudpickle

from smcweights.storage import read_archive

KILLED = """
import os, signal, sys
import cloudpickle
from smcweights.execution import checkpoint

write, most = checkpoint.Ledger._write, int(sys.argv[3])

def counted(ledger):
    write(ledger)
    if len(ledger.entries) >= most:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.Ledger._write = counted
checkpoint.Ledger.due = True
with open(sys.argv[1], "rb") as file:
    call = cloudpickle.load(file)
call(checkpoint=sys.argv[2])
"""


def killed_and_resumed(call, folder, kept=2, executor="threads:2"):
    """``call`` takes checkpoint and executor and returns bytes; ``kept`` batches are finished."""
    whole, path = call(), folder / "run.npz"
    assert call(executor=executor) == whole
    (folder / "call").write_bytes(cloudpickle.dumps(call))
    paths = os.pathsep.join(filter(None, sys.path))  # for what stands beside the test
    command = [sys.executable, "-W", "ignore", "-c", KILLED, folder / "call", path, str(kept)]
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(read_archive(path)[0]["entries"]) == kept
    assert call(checkpoint=path, executor=executor) == whole
    assert len(read_archive(path)[0]["entries"]) > kept
    content = path.read_bytes()
    assert call(checkpoint=path) == whole and path.read_bytes() == content


def bits(*estimates):
    """Values and covariances of estimates."""
    return b"".join(part.tobytes() for e in estimates for part in (e.value, e.covariance))
