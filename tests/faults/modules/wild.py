"""Checks of one's own that do what they should not: the option `does` says what."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time

from supervisor_checks_rpc.check_modules.base import Measured

kept = []


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError


def throw(error):
    raise error


def recurse():
    sys.setrecursionlimit(10**9)
    return recurse_without_end()


def recurse_without_end():
    # Through C, so that the stack overflows.
    return max([1], key=lambda _: recurse_without_end())


def close_and_open():
    os.closerange(3, 1024)
    kept.append([os.open('/dev/null', os.O_RDWR) for _ in range(5)])


def grow():
    while True:
        kept.append(bytearray(50_000_000))


DEEDS = {
    'raises': lambda: throw(RuntimeError('no luck\x00\x1b[31m\ud800 é')),
    'raises a BaseException': lambda: throw(KeyboardInterrupt()),
    'raises what cannot be shown': lambda: throw(Unspeakable()),
    'returns None': lambda: None,
    'returns an object': object,
    'returns a number that is none': lambda: Measured('nan', float('nan')),
    'returns a line of 10 MB': lambda: Measured('x' * 10_000_000),
    'returns a sample that is no JSON': lambda: Measured('sample', sample={1: object()}),
    'returns a sample without end': lambda: Measured('sample', sample=kept.append(kept) or kept),
    'returns control characters': lambda: Measured('\x00\x1b[31m\ud800\r\né\u2028'),
    'prints': lambda: print('stray', flush=True) or os.write(1, b'RESULT 4\nFAIL') > 0,
    'closes 0, 1 and 2': lambda: os.closerange(0, 3) is None,
    'closes all': lambda: os.closerange(0, 1024) is None,
    'closes all and opens others': lambda: close_and_open() is None,
    'calls sys.exit': lambda: sys.exit(3),
    'calls os._exit': lambda: os._exit(0),
    'segfaults': lambda: ctypes.string_at(0),
    'aborts': os.abort,
    'overflows the stack': recurse,
    'loops': lambda: all(True for _ in iter(int, 1)),
    'holds the interpreter': lambda: re.match(r'(a+)+$', 'a' * 60 + 'b'),
    'sleeps for ever': lambda: time.sleep(10**6),
    'stops itself': lambda: os.kill(os.getpid(), signal.SIGSTOP),
    'allocates without end': grow,
    'forks': lambda: os.fork() >= 0,
    'leaves a child': lambda: kept.append(subprocess.Popen(['sleep', '9999'])) is None,
    'leaves a thread': lambda: threading.Thread(target=time.sleep, args=[10**6]).start() is None,
    'leaves its folder, and no files may be made': lambda: os.chdir('/') is None and os.umask(0o777) >= 0,
    'ignores signals': lambda: signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)) is not None,
}


class Wild:
    def __init__(self, config, log):
        self._deed = DEEDS[config['does']]

    def __call__(self, process_spec):
        return self._deed()
