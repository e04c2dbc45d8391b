"""The README: what it shows is what the commands print, and its numbers are those of the committed figure."""

import doctest
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from sgdnoise.cli import main
from sgdnoise.reproduce.engine.records import from_json
from sgdnoise.reproduce.figures import fig2
from sgdnoise.reproduce.figures.curves import agreement
from sgdnoise.reproduce.runner import draw

ROOT = Path(__file__).parent.parent
renderer = runpy.run_path(str(ROOT / "tutorials/render.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```console\n\$ sgdnoise (.*?)```", README, flags=re.DOTALL))
def test_console_blocks(block, capsys):
    command, _, expected = block.replace("\\\n", "").partition("\n")
    with pytest.raises(SystemExit):
        main(shlex.split(command))
    assert capsys.readouterr().out == expected


def test_the_python_block_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code.replace("n_epochs=20", "n_epochs=4").replace("(6, 12, 16)", "(1, 2, 3)"), "README.md", "exec"), {})
    assert re.findall(r"(\d+) updates, training loss 0\.", capsys.readouterr().out) == ["1560", "493"]
    assert len([line for line in code.splitlines() if line]) <= 10


def test_the_doctest_block_runs():
    (block,) = re.findall(r"```pycon\n(.*?)```", README, flags=re.DOTALL)
    example = doctest.DocTestParser().get_doctest(block, {}, "README.md", None, None)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed == 0


def test_the_figures_numbers_are_those_of_the_committed_run():
    record = json.loads((ROOT / "tutorials/figures/fig2.json").read_text(encoding="utf-8"))
    assert isinstance(draw(record), Figure)
    assert record["scale"] == "default"
    result = from_json(fig2.Result, record)
    again = agreement("again", "", "", result.curves, ("hybrid",), result.first_step)
    assert again.value == pytest.approx(record["verdicts"][0]["value"])
    for verdict in record["verdicts"]:
        assert verdict["holds"]
        assert f"{verdict['value']:.3f}" in README
    for name in ("decaying", "increasing"):
        assert f"{record['curves'][name]['n_updates'][-1]} " in README.replace(".", " ")


def test_the_verdicts_are_those_of_the_committed_figures():
    assert renderer["with_verdicts"](README) == README


def test_relative_links_lead_somewhere():
    for page in ROOT.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)
