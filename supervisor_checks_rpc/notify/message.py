"""The message that tells people of a batch of news: what happened, why, and since when; the cause first."""

from __future__ import annotations

import string
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.text import printable_line
from ..core.text import span
from ..errors import InvalidCheckConfig
from . import news as kinds
from .facts import Facts
from .gather import Batch
from .incidents import Incidents
from .news import News

DEFAULT_TEMPLATE = '$headline\n\n$details\n\nhost $host, $time\n$notes'
FIELDS = ('headline', 'details', 'notes', 'host', 'time', 'processes', 'level')
# More processes than that are counted, and not named.
MOST_SHOWN = 20
_WORDS = {
    kinds.SHUTDOWN: 'supervisord shuts down',
    kinds.FATAL: 'FATAL',
    kinds.SUSPENDED: 'not restarted any more',
    kinds.HEALTHY: 'healthy again',
}
_NOTHING = Facts()


@dataclass(frozen=True)
class Message:
    """What is sent; `level` is a word of Apprise: failure, warning or success."""

    subject: str
    body: str
    level: str


class Template:
    """A text whose first line is the subject, and what stands after the empty line below it the body."""

    def __init__(self, text: str = DEFAULT_TEMPLATE) -> None:
        """Take the text.

        :raises InvalidCheckConfig: when it has a field that is none of FIELDS.
        """
        self._template = string.Template(text)
        try:
            self._template.substitute(dict.fromkeys(FIELDS, ''))
        except KeyError as why:
            raise InvalidCheckConfig(f'no field ${why.args[0]}, expected some of: ${" $".join(FIELDS)}') from None
        except ValueError:
            raise InvalidCheckConfig('a $ begins no name of a field, expected $$ for the character') from None

    def message(self, fields: Mapping[str, str]) -> Message:
        """Return the message with these fields."""
        subject, _, body = self._template.substitute(fields).partition('\n')
        return Message(printable_line(subject.strip()), f'{body.strip()}\n', fields['level'])


@dataclass(frozen=True)
class _Part:
    """A process with its news, () if it is told of for those that depend on it alone: these are `dependents`."""

    namespec: str
    news: tuple[News, ...]
    because: str
    dependents: tuple[str, ...]

    @property
    def headline(self) -> str:
        """What happened, in a few words."""
        return ', '.join(_happened(self.news)) or self.because[len(self.namespec) :].strip()

    @property
    def rank(self) -> tuple[int, int, str]:
        """What sorts the parts: that with the most dependents first, then the worst."""
        worst = min((_severity(news) for news in self.news), default=0)
        return -len(self.dependents), worst, self.namespec


def compose(
    batch: Batch, facts: Mapping[str, Facts], incidents: Incidents, host: str, at: float, limit: str,
    template: Template,
) -> Message:  # fmt: skip
    """Return the message of `batch`; `limit` is what --at-most says."""
    by_process: dict[str, list[News]] = {}
    for news in batch.news:
        by_process.setdefault(news.namespec, []).append(news)
    parts = _parts(by_process, facts)
    details = ['\n'.join(_details(part, facts.get(part.namespec, _NOTHING), incidents)) for part in parts[:MOST_SHOWN]]
    if len(parts) > MOST_SHOWN:
        details.append(f'and {_named(part.namespec for part in parts[MOST_SHOWN:])}')
    is_open = any(incidents.is_open(namespec) for namespec in by_process)
    is_recovery = all(news[-1].kind == kinds.HEALTHY for news in by_process.values())
    return template.message({
        'headline': _headline(parts, host),
        'details': '\n\n'.join(details),
        'notes': '\n'.join(_notes(batch, limit)),
        'host': host,
        'time': _moment(at),
        'processes': _named(part.namespec for part in parts),
        'level': 'failure' if is_open else 'success' if is_recovery else 'warning',
    })  # fmt: skip


def _parts(by_process: Mapping[str, list[News]], facts: Mapping[str, Facts]) -> list[_Part]:
    dependents: dict[str, list[str]] = {}
    because: dict[str, str] = {}
    for namespec in by_process:
        root, text = _root(namespec, facts)
        if root != namespec:
            dependents.setdefault(root, []).append(namespec)
            because[root] = text
    below = {namespec for names in dependents.values() for namespec in names}
    # All are below another one in a circle only.
    tops = [namespec for namespec in {**by_process, **dependents} if namespec not in below] or list(by_process)
    parts = [
        _Part(name, tuple(by_process.get(name, ())), because.get(name, ''), tuple(dependents.get(name, ())))
        for name in tops
    ]
    return sorted(parts, key=lambda part: part.rank)


def _root(namespec: str, facts: Mapping[str, Facts]) -> tuple[str, str]:
    """Return the last one in the chain of causes of a process, and how that is; itself where there is none."""
    seen, because = {namespec}, ''
    while facts.get(namespec, _NOTHING).cause not in ('', *seen):
        because = facts[namespec].because
        namespec = facts[namespec].cause
        seen.add(namespec)
    return namespec, because


def _headline(parts: list[_Part], host: str) -> str:
    first = parts[0]
    count = len(first.dependents)
    with_it = f'; {count} {"process depends" if count == 1 else "processes depend"} on it' if count else ''
    more = f'; {len(parts) - 1} more' if len(parts) > 1 else ''
    return f'{first.namespec} on {host}: {first.headline}{with_it}{more}'


def _details(part: _Part, facts: Facts, incidents: Incidents) -> Iterator[str]:
    yield f'{part.namespec}: {part.headline}'
    yield from (f'  {line}' for line in _reasons(part.news))
    if facts.passed_at:
        yield f'  healthy last at {_moment(facts.passed_at)}'
    today = [(kind, count) for kind, count in incidents.today(part.namespec).items() if kind != kinds.HEALTHY]
    if today:
        yield f'  today: {", ".join(f"{_word(kind)} {_times(count)}" for kind, count in today)}'
    if part.dependents:
        yield f'  because of it: {_named(part.dependents)}'


def _reasons(all_news: Iterable[News]) -> Iterator[str]:
    """Yield the last reason of each kind and check; that of a restart repeats what the check said."""
    last = {(news.kind, news.check): news for news in all_news}
    has_failure = any(kind == kinds.UNHEALTHY for kind, _ in last)
    for (kind, check), news in last.items():
        if news.reason and not (kind == kinds.RESTARTED and has_failure):
            label = f'{check}: ' if check else ''
            yield f'{label}{"passes again: " if kind == kinds.HEALTHY else ""}{printable_line(news.reason)}'


def _happened(all_news: Iterable[News]) -> list[str]:
    """Return what happened in words, in the order in which it did last; of a kind that came again, how often."""
    counts: dict[str, int] = {}
    words: dict[str, str] = {}
    for news in all_news:
        counts[news.kind] = counts.pop(news.kind, 0) + 1
        words[news.kind] = _recovered(news) if news.kind == kinds.HEALTHY else _word(news.kind)
    return [words[kind] + (f' ({_times(count)})' if count > 1 else '') for kind, count in counts.items()]


def _recovered(news: News) -> str:
    if news.others:
        return f'{news.check} passes again, {", ".join(filter(None, news.others)) or "the process"} not yet'
    return _WORDS[kinds.HEALTHY] + (f' after {span(news.lasted)}' if news.lasted is not None else '')


def _notes(batch: Batch, limit: str) -> Iterator[str]:
    if batch.kept_back >= 1:
        yield f'--at-most {limit} kept {len(batch.news) + batch.dropped} events back, for up to {span(batch.kept_back)}'
    if batch.dropped:
        yield f'{batch.dropped} events before these were dropped: there were too many'


def _severity(news: News) -> int:
    return kinds.KINDS.index(news.kind) if news.kind in kinds.KINDS else 0


def _word(kind: str) -> str:
    return _WORDS.get(kind, kind.replace('_', ' '))


def _times(count: int) -> str:
    return f'{count} {"time" if count == 1 else "times"}'


def _named(namespecs: Iterable[str]) -> str:
    names = list(namespecs)
    more = f' and {len(names) - MOST_SHOWN} more' if len(names) > MOST_SHOWN else ''
    return ', '.join(names[:MOST_SHOWN]) + more


def _moment(at: float) -> str:
    return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))
