from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

import servers
from servers import make_certificate
from servers import reply
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.http import HTTPCheck
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import DeadlineExceeded
from supervisor_checks_rpc.errors import HealthError
from supervisor_checks_rpc.errors import InvalidCheckConfig
from supervisor_checks_rpc.errors import InvalidPortSpec
from world import ROOT
from world import reason_of

OK = servers.http_answers(reply())
WEB = Process('web', 'web', 1)


def run(seconds: float = 5.0, name: str = 'web', **config: object) -> str:
    return HTTPCheck({'url': '/ping', **config}).check(Process('web', name, 1), Deadline(seconds)).note


def failure(kind: type[HealthError] = CheckFailed, seconds: float = 5.0, **config: object) -> str:
    """Return the reason of a run that must fail in one certain way, and not outlast its deadline."""
    return reason_of(lambda: run(seconds, **config), kind, seconds)


def reason_for(
    talk: servers.Talk, kind: type[HealthError] = CheckFailed, seconds: float = 5.0, **config: object
) -> str:
    """Return the reason of a run against `talk`, without the `GET http://127.0.0.1:PORT/ping: ` before it."""
    with servers.tcp(talk) as server:
        reason = failure(kind, seconds, port=server.port, **config)
    before = f'GET http://127.0.0.1:{server.port}/ping: '
    assert reason.startswith(before)
    return reason[len(before) :]


def sent(**config: object) -> servers.Received:
    """Return the request that a run sends."""
    with servers.tcp(OK) as server:
        run(port=server.port, **config)
    return server.requests[0]


def problem(**config: object) -> str:
    with pytest.raises(InvalidCheckConfig) as caught:
        HTTPCheck({'url': '/ping', 'port': '80', **config})
    return str(caught.value)


# The request.


def test_request_is_a_plain_get_by_default() -> None:
    """Without `method`, supervisor_checks fails on a healthy service (http.py:95)."""
    request = sent()
    assert (request.method, request.path, request.body) == ('GET', '/ping', b'')
    assert request.headers['User-Agent'].startswith('supervisor_checks_rpc/')
    assert request.headers['Connection'] == 'close'
    assert request.headers['Host'].startswith('127.0.0.1:')
    assert 'Authorization' not in request.headers


def test_passing_run_tells_what_came_back() -> None:
    with servers.tcp(OK) as server:
        assert run(port=server.port) == f'GET http://127.0.0.1:{server.port}/ping: status 200'


def test_port_may_be_an_expression_on_the_process_name() -> None:
    with servers.tcp(OK) as one, servers.tcp(OK) as two:
        check = HTTPCheck({'url': '/ping', 'port': r'.+_(\d+)'})
        for server in (one, two, one):
            check.check(Process('web', f'web_{server.port}', 1), Deadline(5.0))
    assert (len(one.requests), len(two.requests)) == (2, 1)


def test_port_expression_that_does_not_match_is_an_error_and_no_failure() -> None:
    """supervisor_checks restarted the process (utils.py:87)."""
    assert failure(InvalidPortSpec, port=r'.+_(\d+)') == (
        "port: expression '.+_(\\\\d+)' finds no port in the process name 'web'"
    )


def test_host_may_be_of_ipv6() -> None:
    """supervisor_checks knew 127.0.0.1 only (http.py:18)."""
    with servers.tcp(OK, host='::1') as server:
        assert run(port=server.port, host='::1') == f'GET http://[::1]:{server.port}/ping: status 200'
    assert server.requests[0].headers['Host'] == f'[::1]:{server.port}'


def test_host_may_be_a_name() -> None:
    with servers.tcp(OK) as server:
        run(port=server.port, host='localhost')
    assert server.requests[0].headers['Host'] == f'localhost:{server.port}'


def test_percent_signs_in_the_url_do_no_harm() -> None:
    """They made supervisor_checks restart a healthy service, for its log line (check_runner.py:207)."""
    lines: list[str] = []
    with servers.tcp(OK) as server:
        check = HTTPCheck({'url': '/a%20b', 'port': server.port}, lines.append)
        assert check({'group': 'web', 'name': 'web', 'pid': 1})
    assert server.requests[0].path == '/a%20b'
    assert lines == [f'HTTPCheck: GET http://127.0.0.1:{server.port}/a%20b: status 200']


@pytest.mark.parametrize(
    ('url', 'path'),
    [('/', '/'), ('/a?b=c&d=%2F', '/a?b=c&d=%2F'), ('/ü x', '/%C3%BC%20x'), ('//evil.example/', '//evil.example/'),
        ('/x?rate=100%', '/x?rate=100%'), ('/a/../b/./c', '/a/../b/./c'), ('/%7Ea"<>|', '/%7Ea"<>|'),
    ],
)
def test_url_is_sent_as_it_is(url: str, path: str) -> None:
    assert sent(url=url).path == path


def test_method() -> None:
    assert sent(method='options').method == 'OPTIONS'
    assert sent(method='HEAD').method == 'HEAD'


def test_headers() -> None:
    headers = sent(headers='{"X-Token": "t", "user-agent": "me", "Host": "example"}').headers
    assert (headers['X-Token'], headers.get_all('User-Agent'), headers.get_all('Host')) == ('t', ['me'], ['example'])


@pytest.mark.parametrize('given', ['{}', '0', '[]', 'null', '{"a": "ü"}'])
def test_json_is_sent_whatever_it_is(given: str) -> None:
    """supervisor_checks sent {}, 0, [] as an empty body, and no Content-Type unless there were headers (http.py:82)."""
    request = sent(json=given, method='POST')
    assert json.loads(request.body) == json.loads(given)
    assert request.headers['Content-Type'] == 'application/json'


def test_content_type_of_the_user_wins() -> None:
    """supervisor_checks overrode it (http.py:92)."""
    headers = sent(json='1', headers='{"content-type": "application/x+json"}').headers
    assert headers.get_all('Content-Type') == ['application/x+json']


def test_body_is_sent_as_it_is() -> None:
    request = sent(body='grüße\n', method='PUT')
    assert request.body == 'grüße\n'.encode()
    assert 'Content-Type' not in request.headers


@pytest.mark.parametrize(('password', 'text'), [('päss:1', 'me:päss:1'), ('', 'me:'), (None, 'me:')])
def test_basic_authentication(password: str | None, text: str) -> None:
    """An empty password made supervisor_checks send none (http.py:77)."""
    header = sent(username='me', password=password).headers['Authorization']
    assert base64.b64decode(header.partition('Basic ')[2]).decode() == text


def test_environment_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Proxies, netrc and the like are for people, not for checks of the machine's own services."""
    netrc = tmp_path / 'netrc'
    netrc.write_text('default login me password s3cret\n')
    netrc.chmod(0o600)
    monkeypatch.setenv('NETRC', str(netrc))
    monkeypatch.delenv('no_proxy', raising=False)
    monkeypatch.delenv('NO_PROXY', raising=False)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    assert 'Authorization' not in sent().headers


def test_cookies_are_not_kept() -> None:
    with servers.tcp(servers.http_answers(reply(Set_Cookie='session=1; Path=/'))) as server:
        check = HTTPCheck({'url': '/ping', 'port': server.port})
        for _ in range(2):
            check.check(WEB, Deadline(5.0))
    assert 'Cookie' not in server.requests[1].headers


def test_one_check_serves_many_threads() -> None:
    with servers.tcp(OK) as server:
        check = HTTPCheck({'url': '/ping', 'port': server.port, 'expect_body': 'ok', 'body': 'x' * 1000})
        notes = servers.in_threads(8, lambda: check.check(WEB, Deadline(5.0)).note)
    assert notes == [f'GET http://127.0.0.1:{server.port}/ping: status 200'] * 8
    assert [request.body for request in server.requests] == [b'x' * 1000] * 8


@pytest.mark.parametrize('config', [{}, {'expect_body': 'ok'}, {'method': 'HEAD'}])
def test_connection_is_closed_even_if_the_service_keeps_it_open(config: dict[str, str]) -> None:
    with servers.tcp(servers.http_answers(reply(Connection='keep-alive'))) as server:
        run(port=server.port, **config)
        assert server.hung_up.wait(5.0)


def test_importing_the_check_does_not_import_requests() -> None:
    """supervisord imports it for its options."""
    code = 'import sys, supervisor_checks_rpc.check_modules.http; sys.exit("requests" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False, cwd=ROOT).returncode == 0


# The status.


@pytest.mark.parametrize('status', [200, 201, 204, 299])
def test_every_2xx_passes_by_default(status: int) -> None:
    """Only 200 passed with supervisor_checks (http.py:56)."""
    with servers.tcp(servers.http_answers(reply(status, b''))) as server:
        assert run(port=server.port).endswith(f'status {status}')


@pytest.mark.parametrize('status', [302, 404, 503])
def test_every_other_status_fails_by_default(status: int) -> None:
    assert reason_for(servers.http_answers(reply(status))) == f'status {status}, expected 200-299'


@pytest.mark.parametrize(
    ('expected', 'status'),
    [('404', 404), (404, 404), ('200,204', 204), ('200-299, 302', 302), ('200-299,302', 250), ('401-403', 403)],
)
def test_expected_statuses_pass(expected: object, status: int) -> None:
    with servers.tcp(servers.http_answers(reply(status, b'', Location='/elsewhere'))) as server:
        run(port=server.port, expect_status=expected)


@pytest.mark.parametrize(
    ('expected', 'status', 'told'),
    [('404', 200, '404'), ('200, 204', 201, '200,204'), ('200-299,302', 301, '200-299,302')],
)
def test_statuses_that_are_not_expected_fail(expected: str, status: int, told: str) -> None:
    talk = servers.http_answers(reply(status))
    assert reason_for(talk, expect_status=expected) == f'status {status}, expected {told}'


def test_interim_replies_are_skipped() -> None:
    with servers.tcp(servers.http_answers(b'HTTP/1.1 100 Continue\r\n\r\n' + reply(204, b''))) as server:
        run(port=server.port)


# The body.


def test_body_that_matches() -> None:
    """superlance searched text in bytes, and crashed (httpok.py:219)."""
    with servers.tcp(servers.http_answers(reply(body=b'all is "ok"\n'))) as server:
        run(port=server.port, expect_body='"ok"$', reject_body='error')


@pytest.mark.parametrize(
    ('content_type', 'body'),
    [
        ('text/plain', 'größe'.encode()),
        ('text/plain; charset=utf-8', 'größe'.encode()),
        ('text/plain; charset=ISO-8859-1', 'größe'.encode('latin-1')),
        ('text/plain; charset=nonsense', 'größe'.encode()),
        ('text/plain; charset=hex', 'größe'.encode()),
    ],
)
def test_body_is_text_in_its_charset(content_type: str, body: bytes) -> None:
    with servers.tcp(servers.http_answers(reply(body=body, Content_Type=content_type))) as server:
        run(port=server.port, expect_body='^größe$')


def test_charset_that_takes_seconds_to_decode_is_not_used() -> None:
    """Punycode is quadratic, and would keep all other checks waiting."""
    body = servers.reply(body=b'a-' + b'b' * 65000, Content_Type='text/plain; charset=PunyCode')
    before = time.process_time()
    with servers.tcp(servers.http_answers(body)) as server:
        assert 'passed' not in run(port=server.port, expect_body='^a-b+')
    assert time.process_time() - before < 1.0


def test_chunked_body() -> None:
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nal\r\n2\r\nl \r\n2\r\nok\r\n0\r\n\r\n'
    with servers.tcp(servers.http_answers(chunked)) as server:
        run(port=server.port, expect_body='^all ok$')


def test_body_that_does_not_match() -> None:
    talk = servers.http_answers(reply(body=b'starting\x1b[31m\r\n\xff' + b'y' * 1000))
    reason = reason_for(talk, expect_body='^ok$')
    assert reason.startswith("body does not match '^ok$', begins with 'starting\\x1b[31m\\r\\n\ufffdyyy")
    assert len(reason) < 300


def test_body_that_must_not_match() -> None:
    talk = servers.http_answers(reply(body=b'web ok, db\ndown: \xc3\xbc, rest'))
    assert reason_for(talk, expect_body='ok', reject_body=r'db\ndown: .') == (
        "body matches the unwanted 'db\\\\ndown: .': 'db\\ndown: \xfc'"
    )


@pytest.mark.parametrize('encoding', ['utf-8', 'latin-1'])
def test_a_header_that_is_not_ascii(encoding: str) -> None:
    head = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Said: Gr\xf6\xdfe\r\n\r\n'.encode(encoding)
    reason = reason_for(servers.http_answers(head), expect_header='X-Said: small')
    assert reason == "header X-Said does not match 'small', it is 'Gr\xf6\xdfe'"
    with servers.tcp(servers.http_answers(head)) as server:
        assert 'status 200' in run(port=server.port, expect_header='X-Said: ^Gr\xf6\xdfe$')


def test_body_is_not_read_unless_it_is_looked_at() -> None:
    with servers.tcp(servers.drips(b'HTTP/1.1 200 OK\r\n\r\n')) as server:
        run(port=server.port)


@pytest.mark.parametrize('head', [b'HTTP/1.1 200 OK\r\n\r\n', b'HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n'])
def test_what_is_thrown_away_does_not_use_up_the_deadline(head: bytes) -> None:
    def talk(server: servers.Server, connection: servers.socket.socket) -> None:
        server.requests.append(servers.read_request(connection.makefile('rb')))
        is_first = len(server.requests) == 1
        (servers.drips(head) if is_first else servers.says(reply()))(server, connection)

    with servers.tcp(talk) as server:
        check, deadline = HTTPCheck({'url': '/', 'port': server.port, 'follow_redirects': 'true'}), Deadline(1.0)
        check.check(WEB, deadline)
        assert deadline.is_ahead()


def test_what_is_thrown_away_is_bounded() -> None:
    poured: list[int] = []

    def pour(server: servers.Server, connection: servers.socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        while not server.stopping.is_set():
            poured.append(connection.send(b'x' * 1024 * 1024))

    with servers.tcp(pour) as server:
        run(60.0, port=server.port)
    # Twice the cap, and what the kernel's buffers hold.
    assert 4 * 1024 * 1024 < sum(poured) < 40 * 1024 * 1024


def test_endless_body_is_looked_at_up_to_a_cap() -> None:
    talk = servers.floods(b'HTTP/1.1 200 OK\r\n\r\nok', b'y' * 8192)
    with servers.tcp(talk) as server:
        run(port=server.port, expect_body='^okyyy')
    assert 'does not match' in reason_for(talk, expect_body='never')


@pytest.mark.parametrize(
    'body',
    [
        b'Content-Length: 10\r\n\r\nok',
        b'Transfer-Encoding: chunked\r\n\r\n5\r\nok',
        b'Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n',
    ],
)
def test_body_that_breaks_off(body: bytes) -> None:
    talk = servers.answers(b'HTTP/1.1 200 OK\r\n' + body)
    assert reason_for(talk, expect_body='ok') == 'status 200, body: the reply breaks off'


def test_garbage_among_the_chunks() -> None:
    talk = servers.answers(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok')
    assert reason_for(talk, expect_body='ok').startswith('status 200, body: ')


# Failures of the connection.


def test_connection_refused() -> None:
    """superlance misread it (httpok.py:198)."""
    with servers.free_port() as port:
        assert failure(port=port) == f'GET http://127.0.0.1:{port}/ping: cannot connect: Connection refused'


def test_connection_reset() -> None:
    assert reason_for(servers.resets) == 'connection lost: Connection reset by peer'


def test_connection_closed_without_a_reply() -> None:
    assert reason_for(servers.answers(b'')) == 'connection closed without a reply'


@pytest.mark.parametrize(
    ('garbage', 'told'),
    [
        (b'SSH-2.0-OpenSSH_9\x1b\r\n', "'SSH-2.0-OpenSSH_9\\x1b'"),
        (b'HTTP/1.1 abc OK\r\n\r\n', "'HTTP/1.1 abc OK'"),
        (b'HTTP/7.0 200 OK\r\n\r\n', 'HTTP/7.0'),
        (b'\xff\xfe\r\n', "'\\xff\\xfe'"),
    ],
)
def test_garbage_is_not_a_reply(garbage: bytes, told: str) -> None:
    assert reason_for(servers.answers(garbage)) == f'not a reply of HTTP: {told}'


def test_garbage_among_the_headers_is_skipped() -> None:
    with servers.tcp(servers.http_answers(b'HTTP/1.1 200 OK\r\n\xff\x1b garbage\r\n: x\r\n\r\nok')) as server:
        run(port=server.port)


def test_hung_process_times_out() -> None:
    assert reason_for(servers.silent, DeadlineExceeded, 0.3) == 'timed out after 0.3s'


def test_full_backlog_times_out() -> None:
    with servers.listen(backlog=0) as listener, servers.socket.socket() as first:
        first.connect(listener.getsockname())
        port = listener.getsockname()[1]
        assert failure(DeadlineExceeded, 0.3, port=port) == (
            f'GET http://127.0.0.1:{port}/ping: cannot connect: timed out after 0.3s'
        )


def test_server_that_does_not_read_times_out() -> None:
    body = 'x' * 16_000_000
    assert reason_for(servers.silent, DeadlineExceeded, 0.3, body=body) == 'timed out after 0.3s'


def test_reply_that_comes_before_the_request_is_read_counts() -> None:
    def hasty(server: servers.Server, connection: servers.socket.socket) -> None:
        connection.sendall(reply(413))
        connection.shutdown(servers.socket.SHUT_WR)
        while connection.recv(65536):
            pass

    assert reason_for(hasty, body='x' * 16_000_000) == 'status 413, expected 200-299'


@pytest.mark.parametrize(
    ('before', 'drop', 'told'),
    [
        (b'', b'H', ''),
        (b'HTTP/1.1 200 O', b'K', ''),
        (b'HTTP/1.1 200 OK\r\n', b'X-A: b\r\n', ''),
        (b'HTTP/1.1 200 OK\r\nX-A: ', b'b', ''),
        (b'', b'HTTP/1.1 100 Continue\r\n\r\n', ''),
        (b'HTTP/1.1 200 OK\r\n\r\n', b'o', 'status 200, body: '),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n', b'o', 'status 200, body: '),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', b'1\r\no\r\n', 'status 200, body: '),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', b'0', 'status 200, body: '),
    ],
)
def test_dripping_server_does_not_stretch_the_deadline(before: bytes, drop: bytes, told: str) -> None:
    """The timeout of supervisor_checks is for each byte (http.py:74)."""
    reason = reason_for(servers.drips(before, drop), DeadlineExceeded, 0.3, expect_body='never')
    assert reason == f'{told}timed out after 0.3s'


@pytest.mark.parametrize(
    ('before', 'flood'),
    [
        (b'HTTP/1.1 200 ', b'K' * 8192),
        (b'HTTP/1.1 200 OK\r\n', b'X-A: b\r\n' * 1000),
        (b'HTTP/1.1 200 OK\r\nX-A: ', b'b' * 8192),
    ],
)
def test_endless_headers_are_cut_short(before: bytes, flood: bytes) -> None:
    assert reason_for(servers.floods(before, flood)).startswith('not a reply of HTTP: ')


def test_a_chunk_of_less_than_nothing_is_not_all_that_comes() -> None:
    """http.client reads such a chunk to the end of the connection: gigabytes, if its service sends them."""
    poured: list[int] = []

    def pour(server: servers.Server, connection: servers.socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n')
        while not server.stopping.is_set():
            poured.append(connection.send(b'x' * 1024 * 1024))

    assert reason_for(pour, seconds=2, expect_body='y') == 'status 200, body: the reply breaks off'
    # What the kernel's buffers hold.
    assert sum(poured) < 32 * 1024 * 1024


# Redirects.


def redirect(location: str, status: int = 302) -> bytes:
    return reply(status, b'', Location=location)


def test_redirect_is_not_followed_unless_asked_for() -> None:
    with servers.tcp(servers.http_answers(redirect('/elsewhere'))) as server:
        run(port=server.port, expect_status='302')
    assert [request.path for request in server.requests] == ['/ping']


def test_redirect_that_is_not_followed_may_lead_anywhere() -> None:
    for location in ('http://[', 'ftp://x', 'a\xffb', ''):
        with servers.tcp(servers.http_answers(redirect(location))) as server:
            run(port=server.port, expect_status='302')


@pytest.mark.parametrize('location', ['/next?a=1', 'http://127.0.0.1:{port}/next?a=1', '//127.0.0.1:{port}/next?a=1'])
def test_redirect_is_followed(location: str) -> None:
    with servers.Server(lambda *_: None, servers.listen()) as server:
        port = server.port
        server._talk = servers.http_answers({'/ping': redirect(location.format(port=port)), '/next?a=1': reply()})
        assert run(port=port, follow_redirects='true', expect_body='ok', headers='{"X-Token": "t"}') == (
            f'GET http://127.0.0.1:{port}/ping: redirected to http://127.0.0.1:{port}/next?...: status 200'
        )
    assert [request.headers['X-Token'] for request in server.requests] == ['t', 't']


def test_reason_tells_where_a_redirect_led() -> None:
    talk = servers.http_answers({'/ping': redirect('/next'), '/next': reply(500)})
    reason = reason_for(talk, follow_redirects='true')
    assert reason.startswith('redirected to http://127.0.0.1:')
    assert reason.endswith('/next: status 500, expected 200-299')


def test_loop_of_redirects_ends() -> None:
    with servers.tcp(servers.http_answers(redirect('/ping'))) as server:
        reason = failure(port=server.port, follow_redirects='true')
    before = f'GET http://127.0.0.1:{server.port}/ping: '
    assert reason == f'{before}redirected to {before[4:]}not followed, after 10 redirects'
    assert len(server.requests) == 11


@pytest.mark.parametrize(
    ('location', 'told'),
    [
        ('ftp://example/x', 'redirected to ftp:... which is not followed, expected http or https'),
        ('mailto:a@example', 'redirected to mailto:... which is not followed, expected http or https'),
        ('http://[', 'cannot follow the redirect: its Location is no URL'),
        ('https:///x', 'cannot follow the redirect: its Location is no URL'),
        ('http://127.0.0.1:99999/', 'cannot follow the redirect: its Location is no URL'),
        ('http://u:s3cret@127.0.0.1:9x/', 'cannot follow the redirect: its Location is no URL'),
        ('http://a%20b/', 'cannot follow the redirect: its Location is no URL'),
    ],
)
def test_redirect_that_leads_nowhere(location: str, told: str) -> None:
    assert reason_for(servers.http_answers(redirect(location)), follow_redirects='true') == told


def test_redirect_to_what_is_no_name_is_an_error_and_no_failure() -> None:
    reason = reason_for(servers.http_answers(redirect('http://a..b/')), HealthError, follow_redirects='true')
    assert reason.startswith("redirected to http://a..b/: cannot connect: cannot resolve 'a..b': ")


def test_redirects_share_the_deadline() -> None:
    def slow(server: servers.Server, connection: servers.socket.socket) -> None:
        server.stopping.wait(0.1)
        servers.http_answers(redirect('/ping'))(server, connection)

    assert 'timed out after 0.3s' in reason_for(slow, DeadlineExceeded, 0.3, follow_redirects='true')


def test_endless_body_of_a_redirect_is_not_read() -> None:
    def talk(server: servers.Server, connection: servers.socket.socket) -> None:
        if server.requests:
            servers.http_answers(reply())(server, connection)
        else:
            server.requests.append(servers.read_request(connection.makefile('rb')))
            servers.floods(b'HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n', b'y' * 8192)(server, connection)

    with servers.tcp(talk) as server:
        run(port=server.port, follow_redirects='true')


def secrets_given_to_another_host(status: int, **config: object) -> servers.Received:
    with servers.tcp(OK) as other:
        location = f'http://u:p@127.0.0.1:{other.port}/next'
        with servers.tcp(servers.http_answers(redirect(location, status))) as server:
            run(
                port=server.port,
                follow_redirects='true',
                username='me',
                password='s3cret',
                headers='{"X-Token": "s3cret"}',
                **config,
            )
    assert 'Authorization' in server.requests[0].headers
    return other.requests[0]


def test_credentials_do_not_follow_to_another_host() -> None:
    request = secrets_given_to_another_host(302)
    assert sorted(request.headers) == ['Accept', 'Accept-Encoding', 'Connection', 'Host', 'User-Agent']


def test_body_does_not_follow_to_another_host() -> None:
    assert secrets_given_to_another_host(303, method='POST', json='"s3cret"').body == b''
    with pytest.raises(CheckFailed, match='not followed, the body is not for another host$') as caught:
        secrets_given_to_another_host(307, method='POST', json='"s3cret"')
    assert 's3cret' not in str(caught.value)


def test_body_follows_on_the_same_host_where_http_says_so() -> None:
    for status, request in ((307, ('POST', b'1')), (303, ('GET', b''))):
        with servers.tcp(servers.http_answers({'/ping': redirect('/next', status), '/next': reply()})) as server:
            run(port=server.port, follow_redirects='true', method='POST', json='1')
        assert (server.requests[1].method, server.requests[1].body) == request


# TLS.


@pytest.fixture(scope='session')
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp('tls') / 'server.pem')


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_tls_with_a_certificate_of_our_own(certificate: Path, context: ssl.SSLContext) -> None:
    """superlance fails on every https URL since Python 3.12 (timeoutconn.py:44)."""
    with servers.tcp(OK, context=context) as server:
        note = run(port=server.port, scheme='https', ca_file=str(certificate), expect_body='ok')
    assert note == f'GET https://127.0.0.1:{server.port}/ping: status 200'


def test_tls_certificate_that_nobody_vouches_for(context: ssl.SSLContext) -> None:
    with servers.tcp(OK, context=context) as server:
        reason = failure(port=server.port, scheme='https').replace('self signed', 'self-signed')
    assert reason == f'GET https://127.0.0.1:{server.port}/ping: no TLS: self-signed certificate'


def test_tls_certificate_for_another_host(certificate: Path, context: ssl.SSLContext) -> None:
    with servers.tcp(OK, context=context) as server:
        reason = failure(port=server.port, scheme='https', host='localhost', ca_file=str(certificate))
    assert reason.startswith(f'GET https://localhost:{server.port}/ping: no TLS: ')
    assert 'ostname mismatch' in reason


def test_tls_without_verification(context: ssl.SSLContext) -> None:
    with servers.tcp(OK, context=context) as server:
        run(port=server.port, scheme='https', verify='false')


def test_tls_on_a_port_that_speaks_none() -> None:
    with servers.tcp(servers.answers(reply())) as server:
        reason = failure(port=server.port, scheme='https')
    assert reason.startswith(f'GET https://127.0.0.1:{server.port}/ping: no TLS: ')


def test_tls_handshake_that_breaks_off() -> None:
    with servers.tcp(servers.resets) as server:
        reason = failure(port=server.port, scheme='https')
    assert reason == f'GET https://127.0.0.1:{server.port}/ping: connection lost: Connection reset by peer'


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_server_that_wants_a_certificate_of_ours(
    certificate: Path, context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    """OpenSSL's number for it is that of EPERM, which would be our own trouble."""
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificate)
    context.minimum_version = context.maximum_version = version
    with servers.tcp(OK, context=context) as server:
        reason = failure(port=server.port, scheme='https', verify='no')
    assert reason.startswith(f'GET https://127.0.0.1:{server.port}/ping: ')


@pytest.mark.parametrize('talk', [servers.silent, servers.drips(b'\x16\x03\x03\x40\x00')])
def test_tls_handshake_does_not_stretch_the_deadline(talk: servers.Talk) -> None:
    with servers.tcp(talk) as server:
        reason = failure(DeadlineExceeded, 0.3, port=server.port, scheme='https')
    assert reason == f'GET https://127.0.0.1:{server.port}/ping: timed out after 0.3s'


@pytest.mark.parametrize('before', [b'', b'HTTP/1.1 200 OK\r\nX-A: ', b'HTTP/1.1 200 OK\r\n\r\n'])
def test_tls_dripping_server_does_not_stretch_the_deadline(context: ssl.SSLContext, before: bytes) -> None:
    with servers.tcp(servers.drips(before), context=context) as server:
        reason = failure(DeadlineExceeded, 0.5, port=server.port, scheme='https', verify='no', expect_body='never')
    assert reason.endswith('timed out after 0.5s')


def test_tls_server_that_does_not_read_times_out(context: ssl.SSLContext) -> None:
    with servers.tcp(servers.silent, context=context) as server:
        reason = failure(
            DeadlineExceeded, 0.5, port=server.port, scheme='https', verify='no', method='PUT', body='x' * 16_000_000
        )
    assert reason == f'PUT https://127.0.0.1:{server.port}/ping: timed out after 0.5s'


def test_ca_file_that_is_missing_is_an_error_and_no_failure(tmp_path: Path) -> None:
    missing = tmp_path / 'ca.pem'
    with servers.tcp(servers.silent) as server:
        reason = failure(InvalidCheckConfig, port=server.port, scheme='https', ca_file=str(missing))
    assert reason.endswith(f"ca_file: cannot use '{missing}': No such file or directory")


def test_ca_file_that_is_garbage_is_an_error_and_no_failure(tmp_path: Path) -> None:
    garbage = tmp_path / 'ca.pem'
    garbage.write_text('garbage')
    with servers.tcp(servers.silent) as server:
        assert f"ca_file: cannot use '{garbage}'" in failure(
            InvalidCheckConfig, port=server.port, scheme='https', ca_file=str(garbage)
        )


def test_ca_file_that_is_renewed_counts_from_the_next_run_on(
    certificate: Path, context: ssl.SSLContext, tmp_path: Path
) -> None:
    """Else the renewal of a certificate would have a healthy service restarted."""
    ca_file = make_certificate(tmp_path / 'ca.pem')
    with servers.tcp(OK, context=context) as server:
        check = HTTPCheck({'url': '/ping', 'port': server.port, 'scheme': 'https', 'ca_file': str(ca_file)})
        with pytest.raises(CheckFailed, match='no TLS: '):
            check.check(WEB, Deadline(5.0))
        ca_file.unlink()
        ca_file.write_text(certificate.read_text())
        check.check(WEB, Deadline(5.0))


# Secrets and configuration.

SECRETS = {
    'url': '/ping?token=s3cret-q',
    'username': 's3cret-u',
    'password': 's3cret-p',
    'headers': '{"X-Token": "s3cret-h"}',
    'body': 's3cret-b',
}


@pytest.mark.parametrize(
    'talk',
    [
        servers.http_answers(reply(500)),
        servers.http_answers(redirect('http://s3cret:s3cret@127.0.0.1:9/?s3cret')),
        servers.answers(b''),
        servers.answers(b'garbage\r\n'),
        servers.silent,
    ],
)
def test_secrets_are_not_in_reasons(talk: servers.Talk) -> None:
    with servers.tcp(talk) as server:
        with pytest.raises(CheckFailed) as caught:
            run(0.3, **{**SECRETS, 'port': server.port, 'follow_redirects': 'true'})
    assert 's3cret' not in str(caught.value)
    assert f'GET http://127.0.0.1:{server.port}/ping?...: ' in str(caught.value)


def test_secrets_are_not_in_the_log() -> None:
    """supervisor_checks logs password and headers (check_runner.py:69)."""
    lines: list[str] = []
    with servers.tcp(OK) as server:
        HTTPCheck({**SECRETS, 'port': server.port}, lines.append)({'group': 'web', 'name': 'web', 'pid': 1})
    assert lines == [f'HTTPCheck: GET http://127.0.0.1:{server.port}/ping?...: status 200']


def test_secret_options() -> None:
    secret = [option.name for option in HTTPCheck.OPTIONS if option.secret]
    assert secret == ['headers', 'json', 'body', 'username', 'password']


def test_expect_status_is_listed_as_it_was_given() -> None:
    values, _ = HTTPCheck.parse({'url': '/', 'port': '80', 'expect_status': '200-299, 302'})
    option = next(option for option in HTTPCheck.OPTIONS if option.name == 'expect_status')
    assert option.kind.show(values['expect_status']) == '200-299,302'


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ({'url': None}, "url: required and missing, expected a path that begins with '/'"),
        ({'url': 'ping'}, "url: cannot use 'ping', expected a path that begins with '/'"),
        ({'url': '/a\r\nb'}, "url: cannot use '/a\\r\\nb', expected a path that begins with '/'"),
        ({'scheme': 'ftp'}, "scheme: cannot use 'ftp', expected one of: http https"),
        ({'host': 'a/b'}, "host: cannot use 'a/b', expected the name or the address of a host, without a port"),
        ({'method': 'GET /'}, "method: cannot use 'GET /', expected a method such as GET"),
        (
            {'headers': '["s3cret"]'},
            'headers: cannot use the value (hidden), expected a JSON object of header names and values',
        ),
        ({'json': '{s3cret'}, 'json: cannot use the value (hidden), expected JSON'),
        ({'json': '1', 'body': 's3cret'}, 'json: expected either json or body, not both'),
        ({'password': 's3cret'}, 'password: expected a username as well'),
        (
            {'expect_status': '2xx'},
            "expect_status: cannot use '2xx', expected status codes such as 200,302 or 200-299",
        ),
        (
            {'expect_body': '('},
            "expect_body: cannot use '(' (missing ), unterminated subpattern at position 0), "
            'expected a regular expression',
        ),
        (
            {'expect_body': 'ok', 'method': 'head'},
            'expect_body: expected a method other than HEAD, which has no body',
        ),
        ({'follow_redirects': 'maybe'}, "follow_redirects: cannot use 'maybe', expected true or false"),
        ({'verify': 'never'}, "verify: cannot use 'never', expected true or false"),
    ],
)
def test_configuration_that_cannot_be_used(config: dict[str, str], message: str) -> None:
    assert problem(**config) == message


@pytest.mark.parametrize('headers', [{'X\n': 'a'}, {'': 'a'}, {'X': 'a\r\nY: b'}, {'X': '€'}, {'X': ' a'}])
def test_headers_that_cannot_be_sent(headers: dict[str, str]) -> None:
    assert problem(headers=json.dumps(headers)).startswith('headers: cannot use the value (hidden)')


@pytest.mark.parametrize('statuses', ['', '200,', '299-200', '20', '2000', '-', '099', '200-', '²00'])
def test_statuses_that_cannot_be(statuses: str) -> None:
    assert problem(expect_status=statuses).startswith('expect_status: cannot use ')


def test_port_is_required() -> None:
    with pytest.raises(InvalidCheckConfig, match='^port: required and missing, expected a port from 1 to 65535, or a '):
        HTTPCheck({'url': '/'})


@pytest.mark.parametrize('interim', [
    b'HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\n',
    b'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n',
])  # fmt: skip
def test_an_interim_reply_is_not_the_reply(interim: bytes) -> None:
    """A proxy sends them before the reply of its service; http.client knows 100 alone."""
    with servers.tcp(servers.http_answers(interim + reply(204, b''))) as server:
        assert run(port=server.port).endswith('/ping: status 204')
    with servers.tcp(servers.http_answers(interim + reply(500, b''))) as server:
        with pytest.raises(CheckFailed, match='status 500, expected 200-299$'):
            run(port=server.port)


def test_a_service_that_changes_the_protocol_has_replied() -> None:
    with servers.tcp(servers.http_answers(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n')) as server:
        with pytest.raises(CheckFailed, match='status 101, expected 200-299$'):
            run(port=server.port)


def test_the_number_of_a_process_is_no_port() -> None:
    """`t_01` of process_name = t_%(process_num)02d would be asked on port 1, and a healthy service restarted."""
    expected = "^port: '01' in the process name 't_01' is the number of the process, no port$"
    with pytest.raises(InvalidPortSpec, match=expected):
        run(port=r'.+_(\d+)', name='t_01')
