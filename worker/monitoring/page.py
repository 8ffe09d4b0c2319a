"""The status page: HTML without a script, and nothing of it from anywhere else.

Sentences may quote what participants wrote: every text is escaped, and stands apart so that it cannot turn the
direction of what surrounds it.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from sandbox.logs import size
from worker.logs import redact
from worker.monitoring.board import Past, Progress
from worker.monitoring.health import Health
from worker.monitoring.server import Answer
from worker.observers import RunInWork
from worker.watched import RunLoad, Watched

_REFRESH = 10  # seconds
_LONGEST_TEXT = 600
_STYLE = files("worker.monitoring").joinpath("style.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_UNKNOWN = "—"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400

Loaded = tuple[Progress, RunLoad]


def status_page(watched: Watched, health: Health, current: Sequence[Loaded], past: Sequence[Past]) -> Answer:
    """The worker as it is at this moment."""
    now = time.time()
    body = f"""<header><h1>{_text(watched.name)}</h1><p>codalab-worker {_text(watched.version)}</p></header>
<main>{_state(watched, health)}
<section><h2>In progress</h2>{_current(current, now)}</section>
<section><h2>Ended lately</h2>{_past(past)}</section></main>
<footer><p>{_moment(now)} UTC · reloads every {_REFRESH} s</p></footer>"""
    return Answer(_document(watched.name, body), content_type="text/html; charset=utf-8", headers=_HEADERS)


_HEADERS = {"Content-Security-Policy": _POLICY}


def _document(name: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="{_REFRESH}">
<title>{_plain(name)} · codalab-worker</title>
<style>{_STYLE}</style></head>
<body>{body}</body></html>
"""


def _state(watched: Watched, health: Health) -> str:
    obstacles = health.obstacles()
    word, kind = ("not ready", "bad") if obstacles else ("ready", "good")
    facts = {
        "State": f'<strong class="{kind}">{word}</strong>',
        "Slots": f"{watched.busy()} of {watched.slots} busy",
        **{f"Broker, {name}": "connected" if up() else "away" for name, up in watched.links.items()},
        "Engine": "answers" if health.is_engine_up() else "away",
        "Free disk": size(watched.free_disk()),
    }
    listed = "".join(f"<div><dt>{_text(name)}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{listed}</dl>{_list(obstacles)}'


def _list(obstacles: Sequence[str]) -> str:
    items = "".join(f"<li>{_text(one)}</li>" for one in obstacles)
    return f'<ul class="bad">{items}</ul>' if obstacles else ""


def _current(current: Sequence[Loaded], now: float) -> str:
    heads = ("Submission", "Stage", "Taken", "Time left", "Memory", "Output")
    return _table(heads, (_current_row(one, load, now) for one, load in current), "No run is in progress.")


def _current_row(one: Progress, load: RunLoad, now: float) -> Iterable[str]:
    left = one.time_left(now)
    return (
        _submission(one.run),
        _text(one.stage or "taken"),
        f"{_duration(now - one.run.taken_at)} ago",
        _UNKNOWN if left is None else f"{_duration(left)} of {_duration(one.run.time_limit)}",
        _UNKNOWN if load.memory is None else size(load.memory),
        _UNKNOWN if load.output is None else ("more than " if load.more else "") + size(load.output),
    )


def _past(past: Sequence[Past]) -> str:
    heads = ("Submission", "End", "Ended", "Took", "Why")
    return _table(heads, (_past_row(one) for one in past), "No run has ended since the start.")


def _past_row(one: Past) -> Iterable[str]:
    kind = {"finished": "good", "failed": "bad", "lost": "bad"}.get(one.ended.end, "")
    return (
        _submission(one.run),
        f'<span class="{kind}">{_text(one.ended.end)}</span>',
        _moment(one.at),
        _duration(one.ended.runtime),
        _text(one.ended.sentence),
    )


def _submission(run: RunInWork) -> str:
    number = _text(str(run.submission_id if run.submission_id is not None else run.message_id))
    return f"{number} <small>attempt {run.attempt}</small>" if run.attempt > 1 else number


def _table(heads: Sequence[str], rows: Iterable[Iterable[str]], nothing: str) -> str:
    lines = [
        "".join(f'<td data-of="{head}">{cell}</td>' for head, cell in zip(heads, row, strict=True)) for row in rows
    ]
    if not lines:
        return f"<p>{nothing}</p>"
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(f'<tr>{line}</tr>' for line in lines)}</tbody></table>"


def _text(text: str) -> str:
    return f"<bdi>{_plain(text)}</bdi>"


def _plain(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in redact(text))
    return escape(shown if len(shown) <= _LONGEST_TEXT else shown[:_LONGEST_TEXT] + "…")


def _moment(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M:%S}</time>'


def _duration(seconds: float) -> str:
    """In its two largest units: `1 d 4 h`, `12 min 5 s`, `7 s`."""
    whole = round(seconds)
    parts = (
        (whole // _DAY, "d"),
        (whole % _DAY // _HOUR, "h"),
        (whole % _HOUR // _MINUTE, "min"),
        (whole % _MINUTE, "s"),
    )
    first = next((at for at, (count, _unit) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])
