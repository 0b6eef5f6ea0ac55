from __future__ import annotations

from supervisor_checks_rpc.check_modules.transport.http_exchange import head_bytes


def test_the_head_of_a_request() -> None:
    assert head_bytes('GET', '/a?b', 'web:80', {'X-A': 'b', 'X-\u00e9': '1'}) == (
        b'GET /a?b HTTP/1.1\r\nHost: web:80\r\nX-A: b\r\nX-\xe9: 1\r\n\r\n'
    )


def test_a_header_host_replaces_the_host() -> None:
    assert head_bytes('GET', '/', 'web', {'host': 'other'}) == b'GET / HTTP/1.1\r\nhost: other\r\n\r\n'


def test_the_name_of_a_host_is_sent_in_ascii() -> None:
    """As DNS has it: the check xmlrpc sent it in UTF-8."""
    assert head_bytes('GET', '/', 'b\u00fccher:80', {}) == b'GET / HTTP/1.1\r\nHost: xn--bcher-kva:80\r\n\r\n'
