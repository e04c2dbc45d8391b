"""The tutorials run, their committed pages and figures are what they make, and every claim and link in them is alive."""

import ast
import math
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image

TUTORIALS = Path(__file__).parent.parent / "tutorials"
SCRIPTS = sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))
RENDER = TUTORIALS / "render.py"
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
MEASURED = re.compile(r"([-+]?\d+\.\d+) \+- (\d+\.\d+)")
PICTURE = re.compile(r"!\[(.*?)\]\((.*?)\)")
BLOCK = re.compile(r"^```(?:python|text)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
MAY_IMPORT = {"sgdnoise", "numpy", "scipy", "matplotlib"} | set(sys.stdlib_module_names)
TESTING = "09_test_your_own"  # is about property tests, and says that it needs hypothesis

each_tutorial = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
renderer = runpy.run_path(str(RENDER))


def page_of(script):
    return script.with_suffix(".md").read_text(encoding="utf-8")


def begin(python, out):
    """Render every tutorial afresh, and run those of all mutants."""

    def run(number, module, function, wrong):
        (script,) = TUTORIALS.glob(f"{number}_*.py")
        return python("-c", f"import runpy, sgdnoise.{module} as m; m.{function} = {wrong}; runpy.run_path({str(script)!r})")

    rendering = {script.stem: python(str(RENDER), script.stem, "--out", str(out)) for script in SCRIPTS}
    return out, rendering, {name: run(*mutant) for name, mutant in MUTANTS.items()}


@pytest.fixture
def rendered(begun, script):
    """Folder and finished run of one tutorial."""
    out, rendering, _ = begun[__name__]
    return out, rendering[script.stem]()


def agree(old, new):
    """Whether two printed numbers agree: integers exactly, others to 1% or by one in the last printed digit."""
    if "." not in old + new and "e" not in old + new:
        return old == new
    digits, _, exponent = old.partition("e")
    last_digit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return math.isclose(float(old), float(new), rel_tol=0.01, abs_tol=1.01 * last_digit)


def measured_alike(old, new):
    """Whether two measured values agree: within three standard errors as printed, and these within a factor of two.

    Trainings in float32 part with the processor's kernels for matrix products, by no more than other seeds would.
    """
    pairs = zip(MEASURED.findall(old), MEASURED.findall(new), strict=True)
    return all(
        abs(float(a) - float(b)) <= 3 * float(error) and float(error) / 2 <= float(again) <= 2 * float(error)
        for (a, error), (b, again) in pairs
    )


def differences(committed, fresh):
    """Lines that differ: in printed output, where numbers have a tolerance, and elsewhere in any character."""
    old, new = committed.splitlines(), fresh.splitlines()
    if len(old) != len(new):
        return [f"{len(old)} lines are {len(new)}"]
    found, in_output = [], False
    for a, b in zip(old, new, strict=True):
        if in_output and a != b:
            words = [NUMBER.sub("#", line).split() for line in (a, b)]
            exact = [NUMBER.findall(MEASURED.sub("", line)) for line in (a, b)]
            if words[0] != words[1] or not (all(map(agree, *exact)) and measured_alike(a, b)):
                found.append(f"{a!r} is {b!r}")
        elif a != b:
            found.append(f"{a!r} is {b!r}")
        in_output = a == "```text" or (in_output and a != "```")
    return found


def blurred(picture):
    """Average a picture over blocks of 10 by 10 pixels, which hides how a font is drawn."""
    height, width = (n // 10 * 10 for n in picture.shape[:2])
    return picture[:height, :width, :3].reshape(height // 10, 10, width // 10, 10, 3).mean(axis=(1, 3))


def drawn_by(path):
    """The minor version of matplotlib that drew a picture, by what it writes into it."""
    with Image.open(path) as picture:
        return re.match(r"Matplotlib version(\d+\.\d+)\.", picture.text["Software"])[1]


def test_there_are_tutorials_and_each_has_a_page_and_a_place_in_the_index():
    assert [script.name[:2] for script in SCRIPTS] == [f"{i:02}" for i in range(1, len(SCRIPTS) + 1)]
    assert len(SCRIPTS) >= 3
    assert {page.stem for page in TUTORIALS.glob("[0-9]*.md")} == {script.stem for script in SCRIPTS}
    index = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    for script in SCRIPTS:
        assert f"[{renderer['title'](script)}]({script.stem}.md)" in index


@each_tutorial
def test_runs_without_a_warning_and_prints_what_its_page_shows(script, rendered):
    out, run = rendered
    assert run.returncode == 0, run.stderr
    fresh = (out / f"{script.stem}.md").read_text(encoding="utf-8")
    again = "render it again: python tutorials/render.py"
    assert differences(page_of(script), fresh) == [], again


@each_tutorial
def test_figures_are_the_ones_it_draws(script, rendered):
    out, _ = rendered
    pictures = PICTURE.findall(page_of(script))
    assert 1 <= len(pictures) <= 4
    for alt, name in pictures:
        assert len(alt) > 60, "alt text states what is to be seen"
        committed, fresh = imread(TUTORIALS / name), imread(out / name)
        assert committed.shape == fresh.shape
        if drawn_by(TUTORIALS / name) == drawn_by(out / name):  # another matplotlib letters and spaces otherwise
            assert np.abs(blurred(committed) - blurred(fresh)).mean() < 0.004, name


def test_no_figure_is_an_orphan():
    shown = {name for script in SCRIPTS for _, name in PICTURE.findall(page_of(script))}
    assert {f"figures/{path.name}" for path in (TUTORIALS / "figures").glob("[0-9][0-9]_*")} == shown


@each_tutorial
def test_has_what_every_tutorial_has(script):
    page, source = page_of(script), script.read_text(encoding="utf-8")
    for part in ("## What you will learn", "## Where it stops being true", "## Exercises", "## Answers"):
        assert part in page
    exercises, answers = page.split("## Exercises")[1].split("## Answers")
    assert len(re.findall(r"^\d\. ", exercises, flags=re.MULTILINE)) == 3
    assert re.findall(r"^\*\*(\d)\.\*\*", answers, flags=re.MULTILINE) == ["1", "2", "3"]
    assert f"Rendered from [{script.name}]" in page
    assert len(re.findall(r"^ *assert ", page, flags=re.MULTILINE)) >= 5
    assert "\nassert " in answers
    assert not any("assert " in folded for folded in re.findall(r"<details>.*?</details>", page, flags=re.DOTALL))
    shown = [cell.text for cell in renderer["split"](source) if not cell.alt_texts]
    n_lines = sum(bool(line.strip()) for line in "\n".join(shown).splitlines())
    assert 80 <= n_lines <= 200, "what fits into one sitting, blank lines and the folded code of figures not counted"


@each_tutorial
def test_code_and_output_are_read_without_scrolling(script):
    blocks = BLOCK.findall(page_of(script))
    assert len(blocks) > 10
    wide = [line for block in blocks for line in block.splitlines() if len(line) > 112]
    assert wide == [], "a code block on GitHub shows 112 characters of a line; the rest is seen only by scrolling"


@each_tutorial
def test_imports_nothing_that_is_not_installed_with_the_package(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = MAY_IMPORT | {"hypothesis"} if script.stem == TESTING else MAY_IMPORT
    assert {name.split(".")[0] for name in names} <= allowed


@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text)
    assert links
    for target, anchor in links:
        assert (page.parent / target).exists(), target
        if anchor:
            headings = re.findall(
                r"^#+ (.*)", (page.parent / target if target else page).read_text(encoding="utf-8"), flags=re.MULTILINE
            )
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


# A wrong formula in the package, each named by what it gets wrong, and the tutorial that must notice.
MUTANTS = {
    "g without the -1": (
        "01",
        "noise",
        "noise_scale",
        "lambda eps, B, N, *, momentum=0, replace=False: eps * N / B / (1 - momentum)",
    ),
    "g without the -1, in a schedule": ("04", "noise", "noise_scale", "lambda eps, B, N, *, momentum=0: eps * N / B"),
    "lag without momentum": ("05", "noise", "lost_epochs", "lambda B, N, momentum: B / N"),
    "stability without momentum": ("06", "stationary", "max_stable_learning_rate", "lambda h, momentum=0: 2 / h"),
    "g without momentum": ("01", "noise", "noise_scale", "lambda eps, B, N, *, momentum=0, replace=False: eps * (N - B) / B"),
    "temperature without the 1/2": ("02", "noise", "temperature", "lambda g, f: g * f"),
    "linear rule taken for exact": ("03", "noise", "linear_scaling_error", "lambda factor, B, N: 0 * factor"),
    "temperature of SGLD's minibatches without the 1/2": ("07", "noise", "temperature", "lambda g, f: g * f"),
    "best batch size without momentum": (
        "08",
        "noise",
        "batch_size_for",
        "lambda g, eps, N, *, momentum=0: eps * N / (g + eps)",
    ),
    "g without the -1, beside one's own": (
        "09",
        "noise",
        "noise_scale",
        "lambda eps, B, N, *, momentum=0, replace=False: eps * N / B / (1 - momentum)",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_formula_in_the_package_makes_a_tutorial_fail(begun, mutant):
    run = begun[__name__][2][mutant]()
    assert run.returncode != 0
    assert run.stderr.rstrip().splitlines()[-1].startswith("AssertionError")


def test_numbers_have_a_tolerance_and_words_have_none():
    page = "one 1.00\n```text\nloss 0.2281  after 7800\n```\n"
    assert differences(page, page.replace("0.2281", "0.2290")) == []
    assert differences(page, page.replace("0.2281", "-0.2281"))
    assert differences(page, page.replace("0.2281", "0.2381"))
    assert differences(page, page.replace("7800", "7801"))
    assert differences(page, page.replace("loss", "Loss"))
    assert differences(page, page.replace("1.00", "1.001"))
    assert differences(page, page + "more\n")
    measured = "```text\nlost 0.067 +- 0.004 in 3\n```\n"
    assert differences(measured, measured.replace("0.067 +- 0.004", "0.075 +- 0.007")) == []
    assert differences(measured, measured.replace("0.067", "0.080"))
    assert differences(measured, measured.replace("0.004", "0.009"))
    assert differences(measured, measured.replace("in 3", "in 4"))
    assert agree("4e-05", "5e-05")
    assert not agree("4.0e-05", "4.2e-05")


def test_formulas_get_githubs_delimiters_outside_of_code():
    github_math = renderer["github_math"]
    assert github_math("so $a_1$ and $b_1$") == "so $`a_1`$ and $`b_1`$"
    assert github_math("$$\na_1\n$$\nis $b$") == "```math\na_1\n```\nis $`b`$"
    assert github_math("`$ ls` and $b$\n```sh\n$ ls\n```") == "`$ ls` and $`b`$\n```sh\n$ ls\n```"
    with pytest.raises(ValueError, match="begin and end in one line"):
        github_math("half a $formula")
    assert github_math("for $a < b$ or $a<b$") == "for $`a \\lt b`$ or $`a\\lt b`$"
    for unseen in ("x$a$", "**bold $a$**", "[link to $a$](page.md)", "$\\operatorname{Var} w$", "$$\n\\mbox{a}\n$$"):
        with pytest.raises(ValueError, match="GitHub may not show"):
            github_math(unseen)


def test_cells_and_alt_texts():
    prose, code = renderer["split"](
        "# %% [markdown]\n# # Title\n#\n# Prose.\n\n# %%\nplot()  # here\n# alt: One\n# thing.\n# alt: Two.\n"
    )
    assert prose.text == "# Title\n\nProse."
    assert (code.text, code.alt_texts, code.line) == ("plot()  # here", ["One thing.", "Two."], 6)
    with pytest.raises(ValueError, match="must begin with a cell"):
        renderer["split"]("import numpy\n")
