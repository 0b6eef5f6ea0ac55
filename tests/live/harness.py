"""A real supervisord in a directory of its own, for tests."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from typing import TypeVar

import psutil
from supervisor.xmlrpc import SupervisorTransport

PROGRAMS = Path(__file__).parent / 'programs'
ROOT = Path(__file__).parents[2]
MARK = 'SUPERVISOR_CHECKS_RPC_TEST'
# What a caller of a supervisord that is starting, reloading or ending may see.
NOT_YET = (OSError, http.client.HTTPException, xmlrpc.client.Error)
# Not that of `random`, which hypothesis seeds alike in all processes.
_CHANCE = random.SystemRandom()

T = TypeVar('T')
Auth = tuple[str, str]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        return bind_free(sock)


def bind_free(sock: socket.socket) -> int:
    """Bind to a port that is free, and that no connection gets before it is used: port 0 is one of those."""
    while True:
        with contextlib.suppress(OSError):
            sock.bind(('127.0.0.1', _CHANCE.randrange(10_000, 32_000)))
            return int(sock.getsockname()[1])


def program(name: str, script: str, *args: object, kind: str = 'program', **options: object) -> str:
    """Return the section of a program that runs `script` of programs/ with `args`; RUNNING at once by default."""
    command = shlex.join([sys.executable, str(PROGRAMS / script), *map(str, args)])
    return section(f'{kind}:{name}', {'command': command, 'startsecs': 0, **options})


def healthcheck(name: str, type_: str, processes: str, **options: object) -> str:
    """Return the section of a check."""
    return section(f'healthcheck:{name}', {'type': type_, 'processes': processes, **options})


def is_running(process: psutil.Process | int) -> bool:
    """Tell whether the process runs; a zombie does not, whoever has to reap it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(process) if isinstance(process, int) else process
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def section(name: str, options: Mapping[str, object]) -> str:
    """Return a section of supervisord.conf."""
    return '\n'.join([f'[{name}]', *(f'{key} = {value}' for key, value in options.items()), '', ''])


class Supervisord:
    """One supervisord, from its configuration file to its end.

    `sections` is added to the configuration as it is. `health` and `listener` hold further lines of
    [rpcinterface:health] and [eventlistener:health]; with None there is no such section. `options` holds further
    lines of [supervisord]. With `inet` it listens on a TCP port, too; each server can have a user and a password.
    `python` is what it and the listener run in, with our package from `root`.

    What it waits for comes in a moment, but on a busy machine: only who fails waits as long as the timeouts are.
    """

    def __init__(
        self,
        sections: str = '',
        *,
        health: str | None = '',
        listener: str | None = None,
        options: str = '',
        inet: bool = False,
        unix_auth: Auth | None = None,
        inet_auth: Auth | None = None,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        root: Path = ROOT,
    ) -> None:
        # Short, and not pytest's tmp_path: the path of a socket has at most 107 characters.
        self.dir = Path(tempfile.mkdtemp(prefix='sh', dir='/tmp'))
        self.conf = self.dir / 'supervisord.conf'
        self.socket = self.dir / 's.sock'
        self.port = free_port() if inet else 0
        self.sections = sections
        self.leftovers: list[str] = []
        self._health = health
        self._listener = listener
        self._options = options
        self._unix_auth = unix_auth
        self._inet_auth = inet_auth
        self._python = python
        self._env = {**os.environ, **(env or {}), MARK: str(self.dir)}
        self._root = root
        self._env['PYTHONPATH'] = os.pathsep.join(filter(None, [str(root), self._env.get('PYTHONPATH')]))
        self._popen: subprocess.Popen[bytes] | None = None
        self._daemon = False
        self.rewrite(sections)

    # -- its life

    def rewrite(self, sections: str) -> None:
        """Write the configuration anew, with other sections; supervisord reads it at the next reload."""
        self.sections = sections
        self.conf.write_text(self._conf())

    def start(self, timeout: float = 60, daemon: bool = False) -> Supervisord:
        """Start it and wait until it answers; as a `daemon` it forks away as without -n."""
        command = [self._python, '-m', 'supervisor.supervisord', '-c', str(self.conf)]
        self._daemon = daemon
        with self._console.open('ab') as console:
            self._popen = subprocess.Popen(
                command if daemon else [*command, '-n'],
                env=self._env,
                # It comes before PYTHONPATH.
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        self.wait(self._has_started, timeout, 'a supervisord that answers')
        return self

    def reload(self, timeout: float = 60, by_signal: bool = False) -> None:
        """Reload it, by `supervisor.restart` or by SIGHUP, and wait until it answers again."""
        lives = self._listener_ids()
        _all_gone_within(2, self._is_forking)
        if by_signal:
            os.kill(self.pid, signal.SIGHUP)
        else:
            self.supervisor.restart()
        # In this order: each call wakes supervisord, which else sleeps for a second between the steps of a reload.
        self.wait(lambda: self._answers() and self._listener_ids() > lives, timeout, 'the end of the reload')

    def stop(self, timeout: float = 5) -> None:
        """End it, by SIGTERM and after `timeout` by SIGKILL, and all that it started; remove its directory.

        `leftovers` then tells the command lines of what outlived it, unless SIGKILL was needed.
        """
        _all_gone_within(2, self._is_forking)
        started = self._started()
        try:
            if self.alive():
                # SIGCONT: a test may have stopped it.
                os.kill(self.pid, signal.SIGTERM)
                os.kill(self.pid, signal.SIGCONT)
            if _all_gone_within(timeout, self._alive_and_awake):
                self.leftovers = self._outlivers(started)
        finally:
            _kill({*started, *self._started()})
            if self._popen:
                self._popen.wait(10)
            shutil.rmtree(self.dir, ignore_errors=True)

    # -- asking it

    @property
    def rpc(self) -> Rpc:
        """All its methods over the Unix socket, `sv.rpc.system.listMethods()`; each call has its own connection."""
        return self.over_unix(self._unix_auth)

    @property
    def supervisor(self) -> Rpc:
        """The methods of namespace `supervisor`."""
        return self.rpc.supervisor

    @property
    def health(self) -> Rpc:
        """The methods of namespace `health`."""
        return self.rpc.health

    def over_unix(self, auth: Auth | None = None, timeout: float = 30) -> Rpc:
        """All its methods over the Unix socket."""
        return Rpc(f'unix://{self.socket}', auth, timeout)

    def over_inet(self, auth: Auth | None = None, timeout: float = 30) -> Rpc:
        """All its methods over TCP."""
        return Rpc(f'http://127.0.0.1:{self.port}', auth, timeout)

    def process(self, name: str) -> dict[str, Any]:
        """Return what `supervisor.getProcessInfo` tells."""
        info: dict[str, Any] = self.supervisor.getProcessInfo(name)
        return info

    def wait_state(self, name: str, state: str = 'RUNNING', timeout: float = 60) -> dict[str, Any]:
        """Wait until the process is in `state`, and is its program; return what `supervisor.getProcessInfo` tells."""

        def info() -> dict[str, Any] | None:
            found = self.process(name)
            return found if found['statename'] == state and not self._is_forking() else None

        return self.wait(info, timeout, f'{name} in state {state}')

    def wait(self, predicate: Callable[[], T], timeout: float = 60, what: str = 'the condition') -> T:
        """Return the first true value of `predicate`; fail with the log when there is none within `timeout`.

        A supervisord that does not answer, or answers with a fault, is taken for `not yet`.
        """
        deadline = time.monotonic() + timeout
        while True:
            last: object
            try:
                last = value = predicate()
                if value:
                    return value
            except NOT_YET as why:
                last = repr(why)
            if time.monotonic() > deadline:
                raise AssertionError(f'waited {timeout:g} s for {what}; last: {last}\n{self.report(40)}')
            time.sleep(0.02)

    # -- looking at it

    @property
    def pid(self) -> int:
        """Its pid."""
        if self._daemon or self._popen is None:
            return int((self.dir / 's.pid').read_text())
        return self._popen.pid

    def alive(self) -> bool:
        """Tell whether it runs."""
        if self._popen and not self._daemon:
            return self._popen.poll() is None
        with contextlib.suppress(FileNotFoundError, ValueError, psutil.Error):
            process = psutil.Process(self.pid)
            # A pid file may outlive its process, and the pid be another's by now.
            return self._is_ours(process) and is_running(process)
        return False

    def fds(self) -> int:
        """Return how many file descriptors it has open."""
        return psutil.Process(self.pid).num_fds()

    def threads(self) -> int:
        """Return how many threads it has."""
        return psutil.Process(self.pid).num_threads()

    def cpu(self) -> float:
        """Return the seconds of CPU it has used, its children's aside."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def log(self) -> str:
        """Return its log."""
        return _text(self.dir / 'supervisord.log')

    def output(self, name: str, stream: str = 'stdout') -> str:
        """Return the log of a process; logs of all processes lie in `dir`/logs."""
        return _text(Path(self.process(name)[f'{stream}_logfile']))

    def report(self, lines: int = 1000) -> str:
        """Return the end of its log and of what it and the listener had to say."""
        files = {
            'console': self._console,
            'log': self.dir / 'supervisord.log',
            'listener': self.dir / 'logs' / 'listener.err',
        }
        texts = {title: _text(file).splitlines()[-lines:] for title, file in files.items()}
        if texts['log']:
            # With -n the console repeats it.
            texts['console'] = [line for line in texts['console'] if line not in texts['log']]
        return '\n'.join('\n'.join([f'--- {title}', *text]) for title, text in texts.items() if text)

    # -- inside

    @property
    def _console(self) -> Path:
        return self.dir / 'console.txt'

    def _has_started(self) -> bool:
        # A daemon's first process ends with 0 once the daemon is on its way.
        if self._popen and self._popen.poll():
            raise AssertionError(f'supervisord ended with {self._popen.returncode}\n{self.report(40)}')
        return self._answers()

    def _answers(self) -> bool:
        return bool(self.supervisor.getState()['statename'] == 'RUNNING')

    def _listener_ids(self) -> int:
        return self.log().count('supervisord started with pid')

    def _is_forking(self) -> bool:
        # A child between fork and exec still has supervisord's handlers, which lose a SIGTERM: the stop then takes
        # all of stopwaitsecs.
        with contextlib.suppress(psutil.Error, OSError):
            own = psutil.Process(self.pid)
            return self.alive() and any(child.cmdline() == own.cmdline() for child in own.children())
        return False

    def _alive_and_awake(self) -> bool:
        # It sleeps for up to a second between the steps of its end; a connection wakes it.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            sock.connect(str(self.socket))
        return self.alive()

    def _outlivers(self, started: set[psutil.Process]) -> list[str]:
        processes = {*started, *self._started()}
        # A worker sees the end of supervisord a moment later.
        _all_gone_within(1, *(partial(is_running, process) for process in processes))
        return sorted(_command_line(process) for process in processes if is_running(process))

    def _started(self) -> set[psutil.Process]:
        """All that was started by this supervisord, and itself: the mark is in their environment."""
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if self._is_ours(process):
                    found.add(process)
        if self.alive():
            with contextlib.suppress(psutil.Error):
                found.update(psutil.Process(self.pid).children(recursive=True))
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        return process.environ().get(MARK) == str(self.dir)

    def _conf(self) -> str:
        logs = self.dir / 'logs'
        logs.mkdir(exist_ok=True)
        parts = [
            section('unix_http_server', {'file': self.socket, **_credentials(self._unix_auth)}),
            section(
                'supervisord',
                {
                    'logfile': self.dir / 'supervisord.log',
                    'logfile_maxbytes': 0,
                    'loglevel': 'debug',
                    'pidfile': self.dir / 's.pid',
                    'childlogdir': logs,
                },
            ),
            self._options + '\n',
            _plugin('supervisor', 'supervisor.rpcinterface:make_main_rpcinterface'),
        ]
        if self.port:
            options = {'port': f'127.0.0.1:{self.port}', **_credentials(self._inet_auth)}
            parts.append(section('inet_http_server', options))
        if self._health is not None:
            parts.append(_plugin('health', 'supervisor_checks_rpc.rpcinterface:make_health_rpcinterface'))
            parts.append(self._health + '\n')
        if self._listener is not None:
            command = shlex.join([self._python, '-m', 'supervisor_checks_rpc.listener.main'])
            log = logs / 'listener.err'
            options = {'command': command, 'events': 'TICK_5', 'stderr_logfile': log, 'stderr_logfile_maxbytes': 0}
            parts.append(section('eventlistener:health', options))
            parts.append(self._listener + '\n')
        return ''.join([*parts, '\n', self.sections])


class Rpc:
    """A name in the RPC interface of a supervisord: `rpc.health.runCheck('ping', 'web')`.

    Each call has a connection of its own, so that threads can share an instance, and a timeout.
    """

    def __init__(self, url: str, auth: Auth | None, timeout: float, name: str = '') -> None:
        self._url = url
        self._auth = auth
        self._timeout = timeout
        self._name = name

    def __getattr__(self, name: str) -> Rpc:
        return Rpc(self._url, self._auth, self._timeout, f'{self._name}.{name}'.lstrip('.'))

    def __call__(self, *args: object) -> Any:
        with self._connect() as proxy:
            return getattr(proxy, self._name)(*args)

    def _connect(self) -> xmlrpc.client.ServerProxy:
        # The URL is not used, but has to look like one (supervisor/childutils.py, getRPCInterface).
        return xmlrpc.client.ServerProxy('http://127.0.0.1', _Transport(self._url, self._auth, self._timeout))


class _Transport(SupervisorTransport):
    """SupervisorTransport with a timeout."""

    def __init__(self, url: str, auth: Auth | None, timeout: float) -> None:
        super().__init__(*(auth or (None, None)), serverurl=url)
        plain = self._get_connection

        def connect() -> http.client.HTTPConnection:
            connection = plain()
            try:
                connection.connect()
            except OSError:
                # The socket is there already, and nobody else will close it.
                connection.close()
                raise
            connection.sock.settimeout(timeout)
            return connection

        self._get_connection = connect


def _plugin(name: str, factory: str) -> str:
    return section(f'rpcinterface:{name}', {'supervisor.rpcinterface_factory': factory})


def _credentials(auth: Auth | None) -> dict[str, str]:
    return dict(zip(('username', 'password'), auth)) if auth else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors='replace')
    except FileNotFoundError:
        return ''


def _all_gone_within(timeout: float, *running: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + timeout
    while any(is_running() for is_running in running):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _command_line(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return shlex.join(process.cmdline())
    return ''


def _kill(processes: set[psutil.Process]) -> None:
    for process in processes:
        # psutil compares the start time first: never another process under the same pid.
        with contextlib.suppress(psutil.Error):
            process.kill()
    _all_gone_within(5, *(partial(is_running, process) for process in processes))
