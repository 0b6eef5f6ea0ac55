"""The recipes for web servers: each real server hangs in its own way, is found by its recipe, and restarted."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable

import pytest

import documents
from harness import Supervisord
from harness import free_port
from recipes import Recipe
from supervisor_checks_rpc.check_modules.transport.fastcgi_exchange import request
from tools import tool

Create = Callable[..., Supervisord]


# -- nginx

NGINX = """
pid {folder}/pid;
error_log {folder}/nginx.log;
worker_processes 1;
{user}
events {{ worker_connections 8; }}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    {server}
    server {{
        listen 127.0.0.1:{slow};
        root {folder};
    }}
}}
"""


@pytest.fixture
def nginx(supervisord: Create) -> tuple[Recipe, int, int]:
    """One that is healthy, its port, and that of a site with a big file."""
    recipe, port, slow = Recipe(supervisord, 'nginx'), free_port(), free_port()
    conf = recipe.folder / 'nginx.conf'
    user = 'user root;' if os.geteuid() == 0 else ''
    (recipe.folder / 'big').write_bytes(bytes(20_000_000))
    server = documents.block('nginx: health').replace('8081', str(port))
    conf.write_text(NGINX.format(folder=recipe.folder, user=user, server=server, slow=slow))
    recipe.replace({'/usr/sbin/nginx': f'{tool("nginx")} -c {conf} -e {recipe.folder}/nginx.log', '8081': port})
    recipe.start()
    return recipe, port, slow


def test_nginx_with_a_worker_that_hangs(nginx: tuple[Recipe, int, int]) -> None:
    recipe, port, _ = nginx
    pid = recipe.pid('nginx')
    (worker,) = recipe.children('nginx')
    worker.send_signal(signal.SIGSTOP)
    recipe.wait_reason('nginx', 'nginx', rf'^GET http://127.0.0.1:{port}/health: timed out after 1s$')
    recipe.wait_restarted('nginx', pid)


def test_nginx_without_a_connection_left(nginx: tuple[Recipe, int, int]) -> None:
    recipe, _, slow = nginx
    pid = recipe.pid('nginx')
    with contextlib.ExitStack() as stack:
        # It would close connections without a request, when it needs others.
        for _ in range(16):
            client = stack.enter_context(socket.create_connection(('127.0.0.1', slow)))
            client.sendall(b'GET /big HTTP/1.0\r\n\r\n')
        recipe.wait_reason('nginx', 'nginx', r'/health: (connection closed without a reply|connection lost: )')
        recipe.wait_restarted('nginx', pid)


# -- php-fpm


def test_php_fpm_with_all_children_busy(supervisord: Create) -> None:
    recipe = Recipe(supervisord, 'php-fpm')
    folder, path = recipe.folder, recipe.folder / 'f.sock'
    (folder / 'hang.php').write_text('<?php file_put_contents(__DIR__ . "/hangs", ""); sleep(60);')
    (folder / 'fpm.conf').write_text(
        f'[global]\nerror_log = {folder}/log\n[www]\nlisten = {path}\npm = static\npm.max_children = 1\n'
        'ping.path = /ping\n' + ('user = root\ngroup = root\n' if os.geteuid() == 0 else '')
    )
    recipe.replace({
        '/usr/sbin/php-fpm8.2': f'{tool("php-fpm")} -n -y {folder}/fpm.conf -R',
        '/run/php/php8.2-fpm.sock': path,
        'timeout = 10s': 'timeout = 1s',
    })
    recipe.start()
    pid = recipe.pid('php-fpm')
    with socket.socket(socket.AF_UNIX) as busy:
        busy.connect(str(path))
        script = {'SCRIPT_FILENAME': str(folder / 'hang.php'), 'REQUEST_METHOD': 'GET'}
        busy.sendall(request(script))
        recipe.wait_reason('php-fpm', 'php-fpm', rf'^/ping at unix {path}: timed out after 1s$')
        recipe.wait_restarted('php-fpm', pid)
    assert (folder / 'hangs').exists()


# -- gunicorn and uvicorn

WSGI = """
import time
def application(environ, start_response):
    if environ['PATH_INFO'] == '/hang':
        time.sleep(60)
    start_response('200 OK', [])
    return [b'fine']
"""
ASGI = """
import time
async def app(scope, receive, send):
    if scope['type'] != 'http':
        return
    if scope['path'] == '/hang':
        time.sleep(60)
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'fine'})
"""


@pytest.mark.parametrize('over', ['port', 'socket'])
@pytest.mark.parametrize('name', ['gunicorn', 'uvicorn'])
def test_a_python_server_that_is_busy_for_ever(supervisord: Create, name: str, over: str) -> None:
    """All workers of gunicorn are, or a call blocks the event loop of uvicorn."""
    recipe = Recipe(supervisord, name)
    folder, path, port = recipe.folder, recipe.folder / 'a.sock', free_port()
    command = f'env -u PYTHONPATH {tool(name)}'
    if name == 'gunicorn':
        process, place = 'shop', f'unix:{path}' if over == 'socket' else f'127.0.0.1:{port}'
        (folder / 'shop').mkdir()
        (folder / 'shop' / 'wsgi.py').write_text(WSGI)
        (folder / 'shop' / '__init__.py').touch()
        changes = {
            'gunicorn --workers 4 --bind 127.0.0.1:8000': f'{command} --workers 1 --bind {place}',
            'directory = /srv/shop': f'directory = {folder}',
            'port = 8000': f'sock_path = {path}' if over == 'socket' else f'port = {port}',
            'timeout = 10s': 'timeout = 1s\nstop_timeout = 1s',
        }
    else:
        process, place = 'api', f'--uds {path}' if over == 'socket' else f'--port {port}'
        (folder / 'api.py').write_text(ASGI)
        changes = {
            'uvicorn --uds /run/api.sock': f'{command} {place}',
            'directory = /srv/api': f'directory = {folder}',
            'sock_path = /run/api.sock': f'sock_path = {path}' if over == 'socket' else f'port = {port}',
            'stop_timeout = 5s': 'stop_timeout = 1s',
        }
    recipe.replace(changes)
    recipe.start()
    pid = recipe.pid(process)
    with socket.socket(socket.AF_UNIX if over == 'socket' else socket.AF_INET) as busy:
        busy.connect(str(path) if over == 'socket' else ('127.0.0.1', port))
        busy.sendall(b'GET /hang HTTP/1.1\r\nHost: a\r\n\r\n')
        where = rf'/healthz at unix {path}' if over == 'socket' else rf':{port}/healthz'
        recipe.wait_reason(process, process, rf'^GET http://127\.0\.0\.1{where}: timed out after 1s$')
        recipe.wait_restarted(process, pid)
