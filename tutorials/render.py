r"""Render the tutorials: run each script cell by cell, and write a Markdown page of its prose, code, output and pictures.

::

    python tutorials/render.py           # all of them
    python tutorials/render.py 01 03     # those whose names begin so
    python tutorials/render.py README    # the README's table of verdicts, from figures/*.json

A script is in the "py:percent" format, which VS Code and Jupyter (with jupytext) open as a notebook: ``# %% [markdown]`` begins
prose, in comments, and ``# %%`` begins code. Three conventions more:

- A formula in a line of prose stands between dollar signs and does not cross lines; a displayed one stands between two lines
  ``$$``. The page has GitHub's own delimiters instead, inside which Markdown leaves underscores and backslashes alone.
- Figures that a cell leaves open are saved as ``figures/NN_name_1.png`` and so on. Their alt text, which states what is to be
  seen, comes from comments ``# alt: ...`` at the end of the cell, one for each figure; the page does not show them as code.
  The code of a cell that draws is folded: what is to be read, and every assert, goes into a cell before it.
- The footer is made here: links to the functions that the script imports, to the neighbours and to the index.

Nothing beyond the package's own dependencies is needed.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
_CODE_SPAN = re.compile(r"(`[^`]*`)")
_INLINE_FORMULA = re.compile(r"\$([^$]+)\$")
_NOT_SHOWN = {  # what GitHub is known to leave raw, or to refuse
    "a letter or digit directly before a formula": re.compile(r"\w\$`"),
    "a formula at the end of bold or italics": re.compile(r"`\$\*"),
    "a formula in the text of a link": re.compile(r"\[[^]]*\$`[^]]*\]\("),
    "a macro that it refuses": re.compile(r"\\(?:operatorname|mbox|phantom|newcommand)\b"),
}


@dataclass
class Cell:
    """A cell of a script, before its first line of text."""

    prose: bool
    line: int
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Prose without its comment signs; code without its alt texts."""
        if self.prose:
            return "\n".join(line.removeprefix("#").removeprefix(" ") for line in self.lines).strip()
        return "\n".join(self.lines[: self._code_end]).strip("\n")

    @property
    def alt_texts(self) -> list[str]:
        """What the figures of the cell show."""
        comments = "\n".join(line.removeprefix("#").strip() for line in self.lines[self._code_end :])
        return [" ".join(text.split()) for text in comments.split("alt:")[1:]]

    @property
    def _code_end(self) -> int:
        return next((i for i, line in enumerate(self.lines) if line.startswith("# alt:")), len(self.lines))


def scripts() -> list[Path]:
    """Return the tutorials in their order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def title(script: Path) -> str:
    """Return the first heading of a script."""
    lines = script.read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("# # ") for line in lines if line.startswith("# # "))


def split(source: str) -> list[Cell]:
    """Split a script into cells."""
    cells: list[Cell] = []
    for number, line in enumerate(source.splitlines(), start=1):
        if line.startswith("# %%"):
            cells.append(Cell(prose=line.endswith("[markdown]"), line=number))
        elif cells:
            cells[-1].lines.append(line)
        else:
            raise ValueError(f"a tutorial must begin with a cell, '# %%' or '# %% [markdown]', got {line!r}")
    return cells


def _inline(match: re.Match[str]) -> str:
    """Return an inline formula between GitHub's delimiters, where a < could begin a tag."""
    return "$`" + re.sub(r"< *", r"\\lt ", match[1]) + "`$"


def github_math(prose: str) -> str:
    """Turn dollar signs into GitHub's delimiters, outside of code, and refuse what GitHub may not show."""
    lines, fenced, displayed = [], False, False
    for line in prose.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif line == "$$":
            displayed = not displayed
            line = "```math" if displayed else "```"
        elif not fenced and not displayed:
            parts = _CODE_SPAN.split(line)
            if any(part.count("$") % 2 for part in parts[::2]):
                raise ValueError(f"a formula must begin and end in one line, got {line!r}")
            parts[::2] = [_INLINE_FORMULA.sub(_inline, part) for part in parts[::2]]
            line = "".join(parts)
        if not fenced:
            for form, pattern in _NOT_SHOWN.items():
                if pattern.search(line):
                    raise ValueError(f"GitHub may not show {form}, got {line!r}")
        lines.append(line)
    return "\n".join(lines)


def functions_used(tree: ast.Module, namespace: dict[str, Any]) -> dict[str, str]:
    """Return the source file, relative to the page, of each function and class of the package that a script imports."""
    used: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sgdnoise":
            for name in (alias.asname or alias.name for alias in node.names):
                if isinstance(namespace[name], ModuleType):
                    attributes = [
                        child.attr
                        for child in ast.walk(tree)
                        if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name) and child.value.id == name
                    ]
                    used |= {f"{name}.{attribute}": getattr(namespace[name], attribute) for attribute in attributes}
                else:
                    used[name] = namespace[name]
    package = Path(sys.modules["sgdnoise"].__file__ or "").parent.parent
    return {
        name: "../" + Path(sys.modules[value.__module__].__file__ or "").relative_to(package).as_posix()
        for name, value in used.items()
        if hasattr(value, "__module__")
    }


def footer(script: Path, used: dict[str, str]) -> str:
    """Return the links at the end of a page."""
    order = scripts()
    place = order.index(script)
    ways = ["[All tutorials and a table of symbols](README.md)"]
    if (HERE / "reproduction.md").exists():
        ways.append("[The results at full scale](reproduction.md)")
    if place > 0:
        ways.append(f"Before: [{title(order[place - 1])}]({order[place - 1].stem}.md)")
    if place + 1 < len(order):
        ways.append(f"Next: [{title(order[place + 1])}]({order[place + 1].stem}.md)")
    functions = ", ".join(f"[`{name}`]({path})" for name, path in used.items())
    return f"---\n\nFunctions used: {functions}.\n\n" + " · ".join(ways)


def render(script: Path, out: Path = HERE) -> str:
    """Run a script, save its figures under `out`, and return its page."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    from sgdnoise.reproduce.figures.style import figure_style

    source = script.read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    blocks: list[str] = []
    n_figures = 0
    (out / "figures").mkdir(exist_ok=True)
    with figure_style():
        for cell in split(source):
            if cell.prose:
                blocks.append(github_math(cell.text))
                continue
            output = io.StringIO()
            with redirect_stdout(output):  # empty lines in front, so that a traceback names the script's own lines
                exec(compile("\n" * cell.line + "\n".join(cell.lines), str(script), "exec"), namespace)
            code = f"```python\n{cell.text}\n```"
            folded = f"<details>\n<summary>The code of this figure</summary>\n\n{code}\n\n</details>"
            blocks.append(folded if cell.alt_texts else code)
            if output.getvalue():
                blocks.append(f"```text\n{output.getvalue().rstrip()}\n```")
            figures, alt_texts = plt.get_fignums(), cell.alt_texts
            if len(figures) != len(alt_texts):
                raise ValueError(f"{script.name}, line {cell.line}: {len(figures)} figures have {len(alt_texts)} alt texts")
            for figure, alt in zip(figures, alt_texts, strict=True):
                n_figures += 1
                name = f"figures/{script.stem}_{n_figures}.png"
                plt.figure(figure).savefig(out / name)
                plt.close(figure)
                blocks.append(f"![{alt}]({name})")
    notice = f"*Rendered from [{script.name}]({script.name}) by `python tutorials/render.py`; edit that, not this page.*"
    heading, _, introduction = blocks[0].partition("\n")
    blocks[:1] = [heading, notice, introduction.strip()]
    return "\n\n".join([*blocks, footer(script, functions_used(ast.parse(source), namespace))]) + "\n"


def with_verdicts(readme: str) -> str:
    """Put the verdicts of the committed figures between the README's two marks."""
    from sgdnoise.reproduce import FIGURES
    from sgdnoise.reproduce.report import overview, read_records

    table = overview(read_records(HERE / "figures", FIGURES, "default"), "tutorials/reproduction.md")
    first, _, rest = readme.partition("<!-- verdicts -->")
    return f"{first}<!-- verdicts -->\n\n{table}\n\n<!-- /verdicts -->{rest.partition('<!-- /verdicts -->')[2]}"


def main() -> None:
    """Render the tutorials named on the command line, or all, and the README's table."""
    parser = argparse.ArgumentParser(description="Run the tutorials and write their pages and figures.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of names, such as 01; default: all")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="default: where the scripts are")
    args = parser.parse_args()
    for script in scripts():
        if not args.names or script.stem.startswith(tuple(args.names)):
            print(script.stem, flush=True)
            page = render(script, args.out)
            for old in (args.out / "figures").glob(f"{script.stem}_*.png"):
                if f"(figures/{old.name})" not in page:
                    old.unlink()
            (args.out / f"{script.stem}.md").write_text(page, encoding="utf-8", newline="\n")
    readme = HERE.parent / "README.md"
    if not args.names or "README" in args.names:
        readme.write_text(with_verdicts(readme.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
