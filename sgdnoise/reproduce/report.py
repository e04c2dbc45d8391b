"""What came out, from the figures' JSON records alone: a table for the terminal, and a page with pictures."""

from __future__ import annotations

import json
import os
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .engine.verdicts import Verdict

Record = Mapping[str, Any]

_INTERVALS = """A claim HOLDS if its value meets the threshold, whatever the ends of the interval; HOLDS WITHIN if it
does within the range that it names. A negative control is flagged if the same statistic, of something known to be
wrong, fails. Intervals are 95% bootstrap intervals over independent repetitions. For the largest of many deviations,
which noise can only enlarge, resampling adds noise of its own, and the interval lies too high: it can leave out the
value itself."""

_NBSP = "\N{NO-BREAK SPACE}"
_KINDS = ("HOLDS", "HOLDS WITHIN", "FAILS")
_COLUMNS = {"figure": 12, "verdict": 13, "value [95% interval]": 26, "holds if": 15, "negative control": 22}


def verdicts(record: Record) -> list[Verdict]:
    """Take the verdicts out of a record."""
    return [Verdict.read(verdict) for verdict in record["verdicts"]]


def read_records(directory: Path, figures: Iterable[str], scale: str) -> list[dict[str, Any]]:
    """Read the records of those figures that are finished at this scale; a file that holds no such record is left out.

    A record is what can be reported.
    """
    records = []
    for name in figures:
        try:
            record = json.loads((directory / f"{stem(name, scale)}.json").read_text(encoding="utf-8"))
            if (record["figure"], record["scale"]) == (name, scale) and verdicts(record):
                report([record], [name])
                table([record])
                records.append(record)
        except Exception:  # what a stranger's file holds can fail in any way
            continue
    return records


def stem(name: str, scale: str) -> str:
    """Name of a file without its suffix: that of the default scale is bare."""
    return name if scale == "default" else f"{name}-{scale}"


def command(figures: Sequence[str], scale: str, engine: str, everything: Sequence[str] = ()) -> str:
    """Write the command that makes these figures."""
    names = "all" if list(figures) == list(everything) else " ".join(figures)
    length = "" if scale == "default" else f" --{scale}"
    return f"sgdnoise reproduce {names}{length}" + ("" if engine == "fast" else f" --engine {engine}")


def table(records: Sequence[Record], width: int = 140) -> str:
    """Set all verdicts in columns of fixed width.

    Parameters
    ----------
    records : sequence of dict
        What the figures' JSON files hold.
    width : int, default 140
        Where lines end; a claim, in the last column, goes on below itself.

    Returns
    -------
    str
        A header, the verdicts, and how many there are of each kind.
    """
    start = sum(_COLUMNS.values())
    lines = ["".join(f"{name:{size}}" for name, size in _COLUMNS.items()) + "claim"]
    for record in records:
        for verdict in verdicts(record):
            cells = zip((record["figure"], *_cells(verdict)), _COLUMNS.values(), strict=True)
            claim = textwrap.wrap(_claim(verdict), width - start)
            lines.append("".join(f"{cell + ' ':{size}}" for cell, size in cells) + claim[0])
            lines += [" " * start + rest for rest in claim[1:]]
    return "\n".join([*lines, "", _summary(records)])


def report(records: Sequence[Record], figures: Sequence[str], folder: str | os.PathLike[str] = "") -> str:
    """Write the page: how it was made, all verdicts in one table, and each figure with its own.

    Parameters
    ----------
    records : sequence of dict
        What the figures' JSON files hold, all of one scale.
    figures : sequence of str
        Names of all figures there are, so that the page can say that it has all, or which are missing.
    folder : path, default ""
        Where the pictures are, seen from the page; of a whole path the pictures get the ``file:`` address.

    Returns
    -------
    str
        Markdown.
    """
    parts = ["# The papers' claims, measured", _made(records, figures), _summary(records), _INTERVALS, _markdown_table(records)]
    for record in records:
        claims = verdicts(record)
        title = record["title"].replace("[", "(").replace("]", ")")
        path = Path(folder) / f"{stem(record['figure'], record['scale'])}.png"
        picture = path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))
        shown = f"![{title}; {sum(v.holds for v in claims)} of {len(claims)} claims hold.]({picture})"
        how = command([record["figure"]], record["scale"], record["engine"])
        made = f"`{how}`: {_duration(record['run']['task_time_s'])} of computing."
        parts += [
            f"## {_escaped(record['title'])}",
            shown,
            made,
            "\n".join(f"- {_escaped(str(verdict))}" for verdict in claims),
        ]
    return "\n\n".join(parts) + "\n"


def overview(records: Sequence[Record], page: str | os.PathLike[str]) -> str:
    """Say in a line a figure what it is about and how many of its claims hold, with links to the page that `report` writes.

    Parameters
    ----------
    records : sequence of dict
        What the figures' JSON files hold.
    page : path
        Where that page is, seen from where the table will stand.

    Returns
    -------
    str
        A table in Markdown.
    """
    lines = ["| figure | what it is about | claims |", "|---|---|---|"]
    for record in records:
        counts = Counter(_kind(verdict) for verdict in verdicts(record))
        words = {"HOLDS": "hold{}", "HOLDS WITHIN": "hold{} within a range", "FAILS": "**fail{}**"}
        claims = ", ".join(f"{counts[kind]} {words[kind].format('s' * (counts[kind] == 1))}" for kind in _KINDS if counts[kind])
        link = f"{Path(page).as_posix()}#{_anchor(record['title'])}"
        lines.append(f"| [`{record['figure']}`]({link}) | {_escaped(record['title'])} | {claims} |")
    return "\n".join(lines)


def _anchor(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return "".join(sign for sign in title.lower() if sign.isalnum() or sign in " -_").replace(" ", "-")


def _made(records: Sequence[Record], figures: Sequence[str]) -> str:
    """Say what made the records: command, machine, versions and wall time, and where they differ in that."""
    names = [record["figure"] for record in records]
    first = records[0]
    machine, versions = first["run"]["machine"], first["versions"]
    lines = [
        f"`{command(names, first['scale'], first['engine'], figures)}` on {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['system']}; {', '.join(f'{name} {number}' for name, number in versions.items())}; "
        f"{_time(records)} with {first['run']['workers']}."
    ]
    if missing := [name for name in figures if name not in names]:
        lines.append(f"Not here: {', '.join(missing)}.")
    how = [(record["versions"], record["engine"], record["run"]["machine"]) for record in records]
    if others := [name for name, this in zip(names, how, strict=True) if this != how[0]]:
        lines.append(f"Made with other versions, another engine or on another machine (see their JSON): {', '.join(others)}.")
    return "\n".join(lines)


def _time(records: Sequence[Record]) -> str:
    """Say how long it all took, or what its tasks took where some were there from an earlier run."""
    times = [record["run"]["wall_time_s"] for record in records]
    if None in times:
        computing = sum(record["run"]["task_time_s"] for record in records)
        return f"{_duration(computing)} of computing, added up over tasks and runs,"
    return f"wall time {_duration(sum(times))}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} minutes"


def _summary(records: Sequence[Record]) -> str:
    """Count the verdicts of each kind, and name the claims whose negative control was not flagged."""
    everything = [verdict for record in records for verdict in verdicts(record)]
    counts = Counter(_kind(verdict) for verdict in everything)
    summary = "A smoke run, too short for its verdicts to mean much. " if records[0]["scale"] == "quick" else ""
    summary += f"Claims: {', '.join(f'{counts[kind]} {kind}' for kind in _KINDS if counts[kind])}."
    blind = [verdict.claim for verdict in everything if not verdict.control_flagged]
    summary += f" Negative controls flagged: {len(everything) - len(blind)} of {len(everything)}."
    return summary + "".join(f" NOT FLAGGED: the control of '{claim}'." for claim in blind)


def _markdown_table(records: Sequence[Record]) -> str:
    """Set all verdicts in a table whose numbers do not break within an interval."""
    figure, *columns = _COLUMNS
    lines = [f"| {' | '.join([figure, 'claim', *columns])} |", "|---" * (len(_COLUMNS) + 1) + "|"]
    for record in records:
        for verdict in verdicts(record):
            kind, value, threshold, control = _cells(verdict)
            kind = f"**{kind}**" if kind == "FAILS" else kind
            value, threshold = value.replace(", ", f",{_NBSP}"), threshold.replace(" ", _NBSP)
            cells = (_escaped(cell) for cell in (value, threshold, control))
            link = f"[`{record['figure']}`](#{_anchor(record['title'])})"
            lines.append(f"| {' | '.join((link, _escaped(_claim(verdict)), kind, *cells))} |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Keep Markdown from taking signs of the text for its own."""
    return "".join("\\" + sign if sign in "|*_<[]" else sign for sign in text)


def _kind(verdict: Verdict) -> str:
    return "HOLDS WITHIN" if verdict.holds and verdict.scope else verdict.word


def _claim(verdict: Verdict) -> str:
    return f"{verdict.claim} (within {verdict.scope})" if verdict.scope else verdict.claim


def _cells(verdict: Verdict) -> tuple[str, str, str, str]:
    """Cells that the table on the terminal and that on the page have in common."""
    interval = "" if verdict.interval is None else f" [{verdict.interval[0]:.3g}, {verdict.interval[1]:.3g}]"
    control = f"{verdict.control.value:.3g}, {'flagged' if verdict.control_flagged else 'NOT FLAGGED'}"
    return _kind(verdict), f"{verdict.value:.3g}{interval}", f"{verdict.relation} {verdict.threshold:.3g}", control
