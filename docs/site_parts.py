"""What the site is made of beside its pages."""

from pathlib import Path

import jupytext


def notebooks(source: Path, out: Path) -> list[Path]:
    """Write the notebooks, which are kept as Python scripts with cells, as Jupyter files for Sphinx.

    Args:
        source: Folder of the scripts; a name that starts with a digit is a notebook, any other a helper.
        out: Folder for the Jupyter files, made anew.

    Returns:
        The files, in their order.
    """
    out.mkdir(exist_ok=True)
    for old in out.iterdir():
        old.unlink()
    written = []
    for script in sorted(source.glob("[0-9]*.py")):
        notebook = jupytext.read(script)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        written.append(out / f"{script.stem}.ipynb")
        jupytext.write(notebook, written[-1])
    return written
