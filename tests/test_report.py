"""The table and the page of all verdicts, from made-up records and from files."""

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from sgdnoise.reproduce import FIGURES, Control, Estimate, Verdict, report, table
from sgdnoise.reproduce.report import overview, read_records, verdicts
from sgdnoise.reproduce.runner import draw

ROOT = Path(__file__).parent.parent
RUN = {
    "wall_time_s": 100.0,
    "task_time_s": 190.0,
    "workers": "2 processes",
    "machine": {"cpu": "Some CPU", "cores": 2, "system": "Linux x86_64"},
}


def verdict(claim, source, statistic, value, threshold, interval=None, **more):
    measured = Estimate(value, interval)
    return Verdict(key=claim, claim=claim, source=source, statistic=statistic, measured=measured, threshold=threshold, **more)


HOLDS = verdict("curves agree", "P1, fig. 2", "max |a|/|b|", 0.04567, 0.1, (0.03, 0.06), control=Control("eps/B", 0.7))
WITHIN = verdict(
    "the law is exact",
    "measured here",
    "ratio",
    3.0,
    2.0,
    relation="at least",
    scope="B <= N/10",
    control=Control("c", 9.0),
)
FAILS = verdict("it is *so*", "P1, sec. 4", "x", 0.2, 0.1, control=Control("y", 0.3))


def record(name, *verdicts, **changes):
    versions = {"sgdnoise": "0.1.0", "source": "0123abcd", "numpy": "2.4.0"}
    made = {"figure": name, "title": f"Title of {name}", "scale": "default", "engine": "fast", "versions": versions, "run": RUN}
    return json.loads(json.dumps({**made, "verdicts": [verdict.record() for verdict in verdicts], **changes}))


RECORDS = [record("fig1", HOLDS), record("fig2", WITHIN, FAILS)]


def test_verdicts_survive_json():
    assert [verdicts(made) for made in RECORDS] == [[HOLDS], [WITHIN, FAILS]]
    written = RECORDS[1]["verdicts"][0]
    assert (written["holds"], written["word"], written["control_flagged"]) == (True, "HOLDS WITHIN B <= N/10", False)


def test_the_table_in_full():
    assert (
        table(RECORDS, 110)
        == """\
figure      verdict      value [95% interval]      holds if       negative control      claim
fig1        HOLDS        0.0457 [0.03, 0.06]       at most 0.1    0.7, flagged          curves agree
fig2        HOLDS WITHIN 3                         at least 2     9, NOT FLAGGED        the law is exact
                                                                                        (within B <= N/10)
fig2        FAILS        0.2                       at most 0.1    0.3, flagged          it is *so*

Claims: 1 HOLDS, 1 HOLDS WITHIN, 1 FAILS. Negative controls flagged: 2 of 3. NOT FLAGGED: the control of 'the law is exact'."""
    )


def test_the_page_in_full():
    assert (
        report(RECORDS, ["fig1", "fig2", "fig3"], "figures")
        == r"""# The papers' claims, measured

`sgdnoise reproduce fig1 fig2` on Some CPU, 2 cores, Linux x86_64; sgdnoise 0.1.0, source 0123abcd, numpy 2.4.0; wall time 3.3 minutes with 2 processes.
Not here: fig3.

Claims: 1 HOLDS, 1 HOLDS WITHIN, 1 FAILS. Negative controls flagged: 2 of 3. NOT FLAGGED: the control of 'the law is exact'.

A claim HOLDS if its value meets the threshold, whatever the ends of the interval; HOLDS WITHIN if it
does within the range that it names. A negative control is flagged if the same statistic, of something known to be
wrong, fails. Intervals are 95% bootstrap intervals over independent repetitions. For the largest of many deviations,
which noise can only enlarge, resampling adds noise of its own, and the interval lies too high: it can leave out the
value itself.

| figure | claim | verdict | value [95% interval] | holds if | negative control |
|---|---|---|---|---|---|
| [`fig1`](#title-of-fig1) | curves agree | HOLDS | 0.0457 \[0.03,~0.06\] | at~most~0.1 | 0.7, flagged |
| [`fig2`](#title-of-fig2) | the law is exact (within B \<= N/10) | HOLDS WITHIN | 3 | at~least~2 | 9, NOT FLAGGED |
| [`fig2`](#title-of-fig2) | it is \*so\* | **FAILS** | 0.2 | at~most~0.1 | 0.3, flagged |

## Title of fig1

![Title of fig1; 1 of 1 claims hold.](figures/fig1.png)

`sgdnoise reproduce fig1`: 3.2 minutes of computing.

- HOLDS: curves agree (P1, fig. 2); max \|a\|/\|b\|: 0.0457 \[0.03, 0.06\], at most 0.1; control (eps/B): 0.7, flagged

## Title of fig2

![Title of fig2; 1 of 2 claims hold.](figures/fig2.png)

`sgdnoise reproduce fig2`: 3.2 minutes of computing.

- HOLDS WITHIN B \<= N/10: the law is exact (measured here); ratio: 3, at least 2; control (c): 9, NOT FLAGGED
- FAILS: it is \*so\* (P1, sec. 4); x: 0.2, at most 0.1; control (y): 0.3, flagged
""".replace("~", "\N{NO-BREAK SPACE}")
    )


def test_the_overview_counts_claims_and_links_to_the_page():
    records = [RECORDS[0] | {"title": "Figure 1: eps, B (and 1/(1 - m))"}, RECORDS[1]]
    assert overview(records, "a/page.md").splitlines()[2:] == [
        "| [`fig1`](a/page.md#figure-1-eps-b-and-11---m) | Figure 1: eps, B (and 1/(1 - m)) | 1 holds |",
        "| [`fig2`](a/page.md#title-of-fig2) | Title of fig2 | 1 holds within a range, 1 **fails** |",
    ]


def test_the_page_says_how_it_was_made():
    assert "`sgdnoise reproduce all`" in report(RECORDS, ["fig1", "fig2"])
    assert "Not here" not in report(RECORDS, ["fig1", "fig2"])
    quick = [record("fig1", HOLDS, scale="quick", engine="reference")]
    page = report(quick, FIGURES)
    assert page.count("`sgdnoise reproduce fig1 --quick --engine reference`") == 2
    assert "(fig1-quick.png)" in page
    resumed = [RECORDS[0], record("fig2", FAILS, run={**RUN, "wall_time_s": None})]
    assert "6.3 minutes of computing, added up over tasks and runs, with 2 processes." in report(resumed, FIGURES)
    other = [RECORDS[0], record("fig2", FAILS, versions={"numpy": "1"}), record("sgld", FAILS, engine="reference")]
    assert "on another machine (see their JSON): fig2, sgld." in report(other, FIGURES)


def test_records_are_read_from_files_and_what_is_none_is_left_out(tmp_path):
    for made in RECORDS:
        (tmp_path / f"{made['figure']}.json").write_text(json.dumps(made), encoding="utf-8")
    (tmp_path / "fig1-quick.json").write_text(json.dumps(record("fig1", FAILS, scale="quick")), encoding="utf-8")
    assert read_records(tmp_path, FIGURES, "default") == RECORDS
    assert [made["scale"] for made in read_records(tmp_path, FIGURES, "quick")] == ["quick"]
    for text in ('{"figure": "sgld"', "[]", json.dumps(record("fig2", FAILS)), '{"figure": "sgld", "scale": "default"}'):
        (tmp_path / "sgld.json").write_text(text, encoding="utf-8")
        assert read_records(tmp_path, FIGURES, "default") == RECORDS
    assert read_records(tmp_path / "nowhere", FIGURES, "default") == []


COUNTED = ("updates", "|updates", "|epochs", "largest relative difference of exact g", "largest error over s, in units of G")
"""How statistics begin in which nothing is random: numbers that are counted, or follow from a formula."""


def test_every_committed_claim_has_an_interval_and_a_control_that_is_flagged():
    records = read_records(ROOT / "tutorials/figures", FIGURES, "default")
    assert [made["figure"] for made in records] == list(FIGURES)
    for made in records:
        for verdict in verdicts(made):
            assert verdict.control
            assert verdict.control_flagged, str(verdict)
            assert (verdict.interval is None) == verdict.statistic.startswith(COUNTED), str(verdict)


def test_the_committed_page_and_pictures_are_those_of_the_committed_numbers():
    folder = ROOT / "tutorials/figures"
    records = read_records(folder, FIGURES, "default")
    assert [made["figure"] for made in records] == [name for name in FIGURES if (folder / f"{name}.png").exists()]
    assert (ROOT / "tutorials/reproduction.md").read_text(encoding="utf-8") == report(records, FIGURES, "figures")
    for made in records:
        assert isinstance(draw(made), Figure)
        words = [verdict["word"] for verdict in made["verdicts"]]
        assert words == [verdict.word for verdict in verdicts(made)]  # and not another by hand


def changed(**changes):
    return {**RECORDS[0], **changes}


def changed_verdict(**changes):
    return changed(verdicts=[RECORDS[0]["verdicts"][0] | changes])


NO_RECORDS = {
    "versions are a list": changed(versions=[]),
    "no run": changed(run=None),
    "a run without a machine": changed(run={"task_time_s": 1.0}),
    "times in words": changed(run=RUN | {"task_time_s": "long"}),
    "a value in words": changed_verdict(value="x"),
    "half an interval": changed_verdict(interval=[1]),
    "an interval of words": changed_verdict(interval=["a", "b"]),
    "a claim that is a number": changed_verdict(claim=3),
    "a verdict that is a list": changed(verdicts=[[]]),
    "verdicts that are a number": changed(verdicts=3),
    "no verdicts": changed(verdicts=[]),
    "a title that is a list": changed(title=["a"]),
    "another figure's": changed(figure="fig2"),
    "a list": [],
    **{
        f"no {key}": {k: v for k, v in RECORDS[0].items() if k != key}
        for key in ("title", "versions", "run", "engine", "verdicts")
    },
}


@pytest.mark.parametrize("what", NO_RECORDS)
def test_what_cannot_be_reported_is_left_out(tmp_path, what):
    (tmp_path / "fig1.json").write_text(json.dumps(NO_RECORDS[what]), encoding="utf-8")
    (tmp_path / "fig2.json").write_text(json.dumps(RECORDS[1]), encoding="utf-8")
    assert read_records(tmp_path, FIGURES, "default") == [RECORDS[1]]


def test_titles_and_folders_are_escaped():
    odd = changed(title="k_B T <b> *x* [y] | z")
    page = report([odd], FIGURES, "my figures (new)")
    assert "\n## k\\_B T \\<b> \\*x\\* \\[y\\] \\| z\n" in page
    assert "](my%20figures%20%28new%29/fig1.png)" in page
