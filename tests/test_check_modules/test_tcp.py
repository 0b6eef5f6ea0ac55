from __future__ import annotations

import socket
from pathlib import Path

import pytest

import servers
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.tcp import TCPCheck
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import DeadlineExceeded
from supervisor_checks_rpc.errors import HealthError
from supervisor_checks_rpc.errors import InvalidCheckConfig
from supervisor_checks_rpc.errors import InvalidPortSpec
from world import reason_of


def run(seconds: float = 5.0, name: str = 'db', **config: object) -> str:
    return TCPCheck(config).check(Process('db', name, 1), Deadline(seconds)).note


def failure(kind: type[HealthError] = CheckFailed, seconds: float = 5.0, **config: object) -> str:
    """Return the reason of a run that must fail in one certain way, and not outlast its deadline."""
    return reason_of(lambda: run(seconds, **config), kind, seconds)


def problem(**config: object) -> str:
    with pytest.raises(InvalidCheckConfig) as caught:
        TCPCheck(config)
    return str(caught.value)


def test_connecting_is_enough() -> None:
    with servers.tcp(servers.silent) as server:
        assert run(port=server.port) == f'connect 127.0.0.1:{server.port}: connected'


def test_fails_when_nothing_listens() -> None:
    with servers.free_port() as port:
        assert failure(port=port) == f'connect 127.0.0.1:{port}: Connection refused'


def test_port_may_be_an_expression_on_the_process_name() -> None:
    with servers.tcp(servers.silent) as server:
        run(port=r'.+_(\d+)', name=f'db_{server.port}')


def test_port_expression_that_does_not_match_is_an_error_and_no_failure() -> None:
    """supervisor_checks restarted the process (utils.py:87)."""
    assert failure(InvalidPortSpec, port=r'.+_(\d+)') == (
        "port: expression '.+_(\\\\d+)' finds no port in the process name 'db'"
    )


def test_host_may_be_of_ipv6() -> None:
    """supervisor_checks knew 127.0.0.1 only (tcp.py:16)."""
    with servers.tcp(servers.silent, host='::1') as server:
        assert run(port=server.port, host='::1') == f'connect [::1]:{server.port}: connected'
        run(port=server.port, host='[::1]')


def test_host_may_be_a_name() -> None:
    with servers.tcp(servers.silent) as server:
        assert run(port=server.port, host='localhost') == f'connect localhost:{server.port}: connected'


def test_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / 'db.sock')
    assert failure(sock_path=path) == f'unix {path}: No such file or directory'
    with servers.unix(servers.answers(b'+PONG\r\n'), path):
        assert run(sock_path=path, send='PING', expect='PONG') == f"unix {path}: reply matches 'PONG'"
    assert failure(sock_path=path) == f'unix {path}: Connection refused'


def test_unix_socket_with_a_full_backlog_is_waited_for(tmp_path: Path) -> None:
    """Connecting there fails at once on Linux, which would be a verdict on one moment."""
    path = str(tmp_path / 'db.sock')
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        assert failure(DeadlineExceeded, 0.3, sock_path=path) == f'unix {path}: timed out after 0.3s'


def test_process_that_hangs_passes_without_expect_and_fails_with_it() -> None:
    """The kernel accepts for it (supervisor_checks tcp.py:52)."""
    with servers.listen() as listener:
        port = listener.getsockname()[1]
        run(port=port)
        assert failure(DeadlineExceeded, 0.3, port=port, send='PING', expect='PONG') == (
            f"connect 127.0.0.1:{port}: no match for 'PONG' within 0.3s, got ''"
        )


def test_times_out_when_nothing_is_accepted_and_the_backlog_is_full() -> None:
    with servers.listen(backlog=0) as listener, socket.socket() as first:
        first.connect(listener.getsockname())
        port = listener.getsockname()[1]
        assert failure(DeadlineExceeded, 0.3, port=port) == f'connect 127.0.0.1:{port}: timed out after 0.3s'


def test_sends_and_waits_for_the_reply() -> None:
    with servers.tcp(servers.answers(b'+PONG\r\n')) as server:
        assert run(port=server.port, send=r'PING\r\n', expect=r'^\+PONG\r\n') == (
            f"connect 127.0.0.1:{server.port}: reply matches '^\\\\+PONG\\\\r\\\\n'"
        )
        assert server.received.get(timeout=5) == b'PING\r\n'


def test_send_alone_only_sends() -> None:
    with servers.tcp(servers.answers(b'')) as server:
        run(port=server.port, send='PING')
        assert server.received.get(timeout=5) == b'PING'


@pytest.mark.parametrize(
    ('text', 'data'),
    [
        (r'a\r\n\tb', b'a\r\n\tb'),
        (r'\x00\xFf\x41', b'\x00\xffA'),
        (r'\\r\\x41', rb'\r\x41'),
        ('ü', 'ü'.encode()),
    ],
)
def test_escapes_in_send_are_decoded(text: str, data: bytes) -> None:
    with servers.tcp(servers.answers(b'.')) as server:
        run(port=server.port, send=text, expect='.')
        assert server.received.get(timeout=5) == data


def test_expect_finds_bytes_and_text() -> None:
    with servers.tcp(servers.says(b'\x00\xff' + 'größer'.encode())) as server:
        run(port=server.port, expect=r'^\x00\xffgröß')


def test_expect_is_found_across_packets() -> None:
    with servers.tcp(servers.drips(b'ab', b'c')) as server:
        run(port=server.port, expect='^abccc')


def test_expect_is_found_without_waiting_for_the_end() -> None:
    with servers.tcp(servers.drips(b'220 ready\r\n')) as server:
        run(port=server.port, expect='^220 ')


def test_reply_that_does_not_match() -> None:
    with servers.tcp(servers.says(b'-ERR loading\r\n')) as server:
        assert failure(port=server.port, expect=r'\+PONG') == (
            f"connect 127.0.0.1:{server.port}: no match for '\\\\+PONG' before the connection was closed, "
            "got '-ERR loading\\r\\n'"
        )


def test_dripping_server_does_not_stretch_the_deadline() -> None:
    """The timeout of supervisor_checks is for each byte (http.py:74)."""
    with servers.tcp(servers.drips(b'')) as server:
        reason = failure(DeadlineExceeded, 0.3, port=server.port, expect='never')
    assert f"connect 127.0.0.1:{server.port}: no match for 'never' within 0.3s, got 'x" in reason


def test_endless_reply_is_read_up_to_a_cap() -> None:
    with servers.tcp(servers.floods(b'', b'y' * 8192)) as server:
        reason = failure(port=server.port, expect='never')
    assert "no match for 'never' in the first 65536 bytes, got 'yyy" in reason
    assert len(reason) < 300


def test_server_that_does_not_read_does_not_stretch_the_deadline() -> None:
    with servers.tcp(servers.silent) as server:
        assert failure(DeadlineExceeded, 0.3, port=server.port, send='x' * 16_000_000) == (
            f'connect 127.0.0.1:{server.port}: timed out after 0.3s'
        )


def test_reset_while_waiting() -> None:
    with servers.tcp(servers.resets) as server:
        assert failure(port=server.port, send='PING', expect='PONG') == (
            f'connect 127.0.0.1:{server.port}: '
            "no match for 'PONG' before the connection was lost (Connection reset by peer), got ''"
        )


def test_reset_while_sending() -> None:
    with servers.tcp(servers.resets) as server:
        assert failure(port=server.port, send='x' * 16_000_000).startswith(
            f'connect 127.0.0.1:{server.port}: cannot send: '
        )


def test_what_is_sent_is_never_shown() -> None:
    with servers.tcp(servers.says(b'no')) as server:
        assert 's3cret' not in failure(port=server.port, send='AUTH s3cret', expect='yes')
    assert problem(port=1, send=r'AUTH s3cret\q') == (
        r'send: cannot use the value (hidden), expected text, with \r \n \t \xNN and \\ for bytes'
    )
    assert [option.name for option in TCPCheck.OPTIONS if option.secret] == ['send', 'dialog']


def test_control_characters_of_the_service_stay_out_of_the_reason() -> None:
    with servers.tcp(servers.says(b'\x1b[2J\n\xff')) as server:
        assert failure(port=server.port, expect='ok').endswith(r"got '\x1b[2J\n\xff'")


def test_one_check_serves_many_threads() -> None:
    with servers.tcp(servers.answers(b'+PONG')) as server:
        check = TCPCheck({'port': server.port, 'send': 'PING', 'expect': 'PONG'})
        notes = servers.in_threads(8, lambda: check.check(Process('db', 'db', 1), Deadline(5.0)).note)
    assert notes == [f"connect 127.0.0.1:{server.port}: reply matches 'PONG'"] * 8


def speaks_smtp(server: servers.Server, connection: socket.socket) -> None:
    """Greet, and answer each line; what comes before the greeting is an error."""
    connection.sendall(b'220 hello\r\n')
    with connection.makefile('rb') as lines:
        for line in lines:
            server.received.put(line)
            connection.sendall(b'221 bye\r\n' if line == b'QUIT\r\n' else b'250-one\r\n250 two\r\n')
            if line == b'QUIT\r\n':
                return


DIALOG = r"""
expect ^220 hello
  send EHLO me\r\n
expect ^250-one
expect 250 two\r\n$

send QUIT\r\n
expect ^221
"""


def test_a_dialog_is_had_in_its_order() -> None:
    with servers.tcp(speaks_smtp) as server:
        assert run(port=server.port, dialog=DIALOG) == f"connect 127.0.0.1:{server.port}: reply matches '^221'"
        assert [server.received.get(timeout=5) for _ in range(2)] == [b'EHLO me\r\n', b'QUIT\r\n']


@pytest.mark.parametrize(
    ('dialog', 'reason'),
    [
        # What was said before the last send does not count.
        ('expect ^220\nsend HELP\\r\\n\nexpect hello', r"for 'hello' within 0.3s, got '250-one\r\n250 two\r\n'"),
        ('send QUIT\\r\\n\nexpect 221\nexpect more', r"for 'more' before the connection was closed, got '220 "),
        ('expect ^220\nexpect ^221', r"no match for '^221' within 0.3s, got '220 hello\r\n'"),
    ],
)
def test_a_dialog_fails_at_the_reply_that_does_not_match(dialog: str, reason: str) -> None:
    with servers.tcp(speaks_smtp) as server:
        late = DeadlineExceeded if 'within' in reason else CheckFailed
        assert reason in failure(late, 0.3, port=server.port, dialog=dialog)


@pytest.mark.parametrize(
    ('talk', 'said'),
    [
        (servers.silent, "no match for '^2' within 0.3s, got ''"),
        (servers.drips(b'', b'x'), "no match for '^2' within 0.3s, got 'xx"),
        (servers.answers(b''), "no match for '^2' before the connection was closed, got ''"),
        (servers.resets, "no match for '^2' before the connection was lost (Connection reset by peer), got ''"),
        (servers.floods(b'', b'y' * 8192), "no match for '^2' in the first 65536 bytes, got 'yyy"),
    ],
)
def test_a_dialog_with_a_bad_peer_keeps_to_its_deadline(talk: servers.Talk, said: str) -> None:
    with servers.tcp(talk) as server:
        late = DeadlineExceeded if 'within' in said else CheckFailed
        reason = failure(late, 0.3, port=server.port, dialog='send AUTH s3cret\nexpect ^2\nsend s3cret\nexpect ^2')
        assert said in reason
        assert 's3cret' not in reason


def test_an_expression_that_matches_nothing_waits_for_an_answer() -> None:
    with servers.tcp(servers.silent) as server:
        for config in ({'expect': '.*'}, {'dialog': 'expect .*'}):
            failure(DeadlineExceeded, 0.3, port=server.port, **config)


@pytest.mark.parametrize(
    'dialog',
    [
        '', '\n', 'say s3cret', 'send', 'send ', 'expect', r'send s3cret\q', 'send a\nexpect (s3cret', 's3cret', 7,
        b'send a', [], ['send a'], {}, 'send\ta', 'SEND a', '\u20ac s3cret', 'send a\r\nexpect', 's3cret ' * 10_000,
    ],
)  # fmt: skip
def test_a_dialog_that_cannot_be_used_is_one_line_without_secrets(dialog: object) -> None:
    assert problem(port=1, dialog=dialog) == (
        'dialog: cannot use the value (hidden), expected lines of send TEXT and expect REGEX, each as in the option '
        'of that name'
    )


def test_a_dialog_has_no_send_or_expect_beside_it() -> None:
    assert problem(port=1, dialog='send a', send='b') == 'dialog: expected no send beside it'
    assert problem(port=1, dialog='send a', expect='b') == 'dialog: expected no expect beside it'


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({}, 'port: expected either port or sock_path'),
        ({'port': '80', 'sock_path': '/run/x'}, 'port: expected either port or sock_path'),
        (
            {'port': '70000'},
            "port: cannot use '70000', expected a port from 1 to 65535, or a regular expression on the process name "
            'with one group, such as .+_(\\d+)',
        ),
        (
            {'port': '80', 'host': 'localhost:80'},
            "host: cannot use 'localhost:80', expected the name or the address of a host, without a port",
        ),
        (
            {'sock_path': ''},
            "sock_path: cannot use '', expected the path of a Unix socket, of at most 103 bytes",
        ),
        (
            {'port': '80', 'expect': '('},
            "expect: cannot use '(' (missing ), unterminated subpattern at position 0), expected a regular expression",
        ),
        (
            {'port': '80', 'expct': 'x'},
            'expct: unknown option, expected one of: dialog expect host port send sock_path (did you mean expect?)',
        ),
    ],
)
def test_configuration_that_cannot_be_used(config: dict[str, str], message: str) -> None:
    assert problem(**config) == message


@pytest.mark.parametrize('path', ['a\0b', 'x' * 104])
def test_path_that_no_unix_socket_can_have(path: str) -> None:
    assert problem(sock_path=path).startswith('sock_path: cannot use ')


def test_expect_is_listed_as_it_was_given() -> None:
    values, _ = TCPCheck.parse({'port': '80', 'expect': r'\+größe'})
    option = next(option for option in TCPCheck.OPTIONS if option.name == 'expect')
    assert option.kind.show(values['expect']) == r'\+größe'
