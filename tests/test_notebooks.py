"""Every notebook runs from top to bottom with the interpreter of the tests."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def outputs(notebook):
    """All outputs of a notebook, in order."""
    return [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]


def printed(notebook):
    """What a notebook's cells printed or showed as text, the standard error stream left out."""
    return "".join(
        out.get("text", "") if out.output_type == "stream" else out.data.get("text/plain", "")
        for out in outputs(notebook)
        if out.get("name") != "stderr" and out.output_type != "error"
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    # a kernel of this interpreter, whatever is installed for the user
    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    content = {"argv": argv, "display_name": "tests", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(content))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    # BLAS threads that wait for a busy core make small matrix products several times slower
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    notebook = nbformat.read(path, as_version=4)
    shown = printed(notebook).count("warning:")
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    # warnings of ours are printed, as part of the story; others would end up here
    noise = "".join(out.text for out in outputs(notebook) if out.get("name") == "stderr")
    assert "Warning" not in noise
    assert printed(notebook).count("warning:") == shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_clean_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for out in outputs(notebook) if out.output_type == "error"]
    assert not [out for out in outputs(notebook) if out.get("name") == "stderr"]
    images = [
        out.data["image/png"] for out in outputs(notebook) if "image/png" in out.get("data", ())
    ]
    assert images
    # nothing of the machine it ran on; base64 may spell anything, so images are left out
    text = path.read_text(encoding="utf-8")
    for image in images:
        text = text.replace(json.dumps(image)[1:-1], "")
    assert not re.findall(r"/(?:home|root|tmp|work|opt|Users)/|ipykernel_\d|[A-Z]:\\\\", text)


def test_there_is_a_notebook():
    assert NOTEBOOKS
