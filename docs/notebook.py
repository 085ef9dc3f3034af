"""Run a notebook of the documentation, and write what its cells give into it.

`python docs/notebook.py docs/tutorials/python.ipynb` runs all code cells in one namespace, in an
empty folder, and keeps text and pictures as outputs. It needs no Jupyter: a cell is Python without
magic, and a picture is a figure of matplotlib that the cell leaves open.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

Cell = dict[str, Any]

_DPI = 80


def run_cells(cells: list[Cell]) -> Iterator[tuple[Cell, list[dict[str, Any]]]]:
    """Run code cells in the working folder; yield each with its outputs.

    Parameters
    ----------
    cells
        Cells of a notebook; those that are no code are passed over.
    """
    mpl.use("agg")
    from matplotlib import pyplot  # noqa: PLC0415  (after the backend is chosen)

    pyplot.close("all")
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            shown = _run("".join(cell["source"]), names)
        yield cell, [*_texts(printed.getvalue(), shown), *map(_picture, _figures(pyplot))]
        pyplot.close("all")


def _run(source: str, names: dict[str, Any]) -> str:
    """Run a cell; return what its last line is worth, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "cell", "exec"), names)  # noqa: S102  (the project's own page)
        return ""
    tree.body.pop()
    exec(compile(tree, "cell", "exec"), names)  # noqa: S102
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307
    return "" if value is None else f"{value!r}\n"


def _texts(*texts: str) -> Iterator[dict[str, Any]]:
    """Yield the outputs of texts."""
    text = "".join(texts)
    if text:
        lines = text.splitlines(keepends=True)
        yield {"output_type": "stream", "name": "stdout", "text": lines}


def _figures(pyplot: Any) -> Iterator[Any]:
    """Yield the open figures."""
    yield from map(pyplot.figure, pyplot.get_fignums())


def _picture(figure: Any) -> dict[str, Any]:
    """Return the output of a figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    content = base64.b64encode(file.getvalue()).decode()
    return {"output_type": "display_data", "metadata": {}, "data": {"image/png": content}}


def main() -> None:
    """Run the notebooks that are named, and write them again."""
    for path in map(Path, sys.argv[1:]):
        book = json.loads(path.read_text(encoding="utf-8"))
        here = Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                for number, (cell, outputs) in enumerate(run_cells(book["cells"]), start=1):
                    cell |= {"outputs": outputs, "execution_count": number}
            finally:
                os.chdir(here)
        path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
