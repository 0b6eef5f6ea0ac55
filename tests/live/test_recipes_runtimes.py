"""The recipes for Java and Node: what hangs is found and restarted; Java says where it hangs."""

from __future__ import annotations

import socket
from collections.abc import Callable

from harness import Supervisord
from harness import free_port
from recipes import Recipe
from tools import tool

Create = Callable[..., Supervisord]

JAVA = """
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;

public class Orders {
    static final Object STOCK = new Object(), PRICES = new Object();
    static final CountDownLatch BOTH = new CountDownLatch(2);

    static void lock(Object first, Object second) {
        synchronized (first) {
            BOTH.countDown();
            try { BOTH.await(); } catch (InterruptedException why) { }
            synchronized (second) { }
        }
    }

    public static void main(String[] words) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(words[0])), 50);
        server.createContext("/", exchange -> {
            String path = exchange.getRequestURI().getPath();
            if (path.equals("/stock")) lock(STOCK, PRICES);
            if (path.equals("/prices")) lock(PRICES, STOCK);
            exchange.sendResponseHeaders(200, -1);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(2));
        server.start();
    }
}
"""
NODE = """
const http = require('http');
function parseForEver() { for (;;) {} }
http.createServer((request, response) => {
    if (request.url === '/parse') parseForEver();
    response.end('fine');
}).listen(Number(process.argv[2]), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
"""


def ask(port: int, path: str) -> socket.socket:
    """Return a connection with a request that is not answered."""
    sock = socket.create_connection(('127.0.0.1', port))
    sock.sendall(f'GET {path} HTTP/1.1\r\nHost: a\r\n\r\n'.encode())
    return sock


def test_java_with_a_deadlock_says_so_before_its_restart(supervisord: Create) -> None:
    recipe, port = Recipe(supervisord, 'java'), free_port()
    (recipe.folder / 'Orders.java').write_text(JAVA)
    java = f'{tool("javac")[:-1]} -XX:TieredStopAtLevel=1 -Xshare:auto'
    recipe.replace({
        'java -XX': f'{java} -XX',
        '-jar /srv/orders/orders.jar': f'{recipe.folder}/Orders.java {port}',
        'port = 8080': f'port = {port}',
        'timeout = 10s': 'timeout = 1s',
        'pre_restart_wait = 3s': 'pre_restart_wait = 1s',
        'stop_timeout = 30s': 'stop_timeout = 2s',
    })
    recipe.start(timeout=40)
    pid = recipe.pid('orders')
    with ask(port, '/stock'), ask(port, '/prices'):
        recipe.wait_reason('orders', 'orders', rf'^GET http://127.0.0.1:{port}/health: timed out after 1s$')
        recipe.wait_restarted('orders', pid, 40)
    said = recipe.sv.output('orders')
    assert 'Full thread dump' in said
    assert 'Found one Java-level deadlock' in said
    assert 'Orders.lock(Orders.java' in said


def test_node_with_a_blocked_event_loop_is_killed_and_started_again(supervisord: Create) -> None:
    recipe, port = Recipe(supervisord, 'node'), free_port()
    (recipe.folder / 'server.js').write_text(NODE)
    recipe.replace({
        'command = node': f'command = {tool("node")}',
        'server.js': f'server.js {port}',
        'directory = /srv/chat': f'directory = {recipe.folder}',
        'port = 3000': f'port = {port}',
        'timeout = 10s': 'timeout = 1s',
        'stop_timeout = 5s': 'stop_timeout = 1s',
    })
    recipe.start()
    pid = recipe.pid('chat')
    with ask(port, '/parse'):
        recipe.wait_reason('chat', 'chat', rf'^GET http://127.0.0.1:{port}/health: timed out after 1s$')
        recipe.wait_restarted('chat', pid)
    # Its handler of SIGTERM did not run.
    assert f"killing 'chat' ({pid}) with SIGKILL" in recipe.sv.log()
