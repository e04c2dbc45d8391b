"""A figure on made-up results of its tasks."""

import json
from pathlib import Path

from sgdnoise.reproduce.engine.records import from_json, to_json
from sgdnoise.reproduce.engine.verdicts import Verdict


def first_tasks(module, scale):
    """What a figure asks for."""
    return list(next(module.run(scale)))


def drive(module, scale, answer):
    """Result and verdicts, by their keys, of a figure whose tasks ``answer(tasks)`` answers, a list of dicts of arrays."""
    run = module.run(scale)
    tasks = next(run)
    try:
        while True:
            tasks = run.send(answer(list(tasks)))
    except StopIteration as end:
        result, verdicts = end.value
    by_key = {verdict.key: verdict for verdict in verdicts}
    assert len(by_key) == len(verdicts)
    return result, by_key


def round_trip(module, result, verdicts):
    """What `plot` and `rows` get: both after JSON, which has no NaN."""
    text = json.dumps([to_json(result), to_json([verdict.record() for verdict in verdicts.values()])], allow_nan=False)
    data, records = json.loads(text)
    return from_json(module.Result, data), {record["key"]: Verdict.read(record) for record in records}


def words(verdicts):
    """All that verdicts say in words, by their keys."""
    return {v.key: (v.claim, v.source, v.statistic, v.relation, v.threshold, v.control.name, v.scope) for v in verdicts}


def committed_words(name):
    """What the committed results of a figure say in words."""
    record = json.loads((Path(__file__).parents[2] / f"tutorials/figures/{name}.json").read_text(encoding="utf-8"))
    return words(map(Verdict.read, record["verdicts"]))
