"""failing_listener.py COUNT: an event listener that rejects its first COUNT events: supervisord sends them again."""

from __future__ import annotations

import sys

left = int(sys.argv[1])
while True:
    sys.stdout.write('READY\n')
    sys.stdout.flush()
    header = dict(word.split(':', 1) for word in sys.stdin.readline().split())
    if not header:
        break
    sys.stdin.read(int(header['len']))
    answer = 'FAIL' if left > 0 else 'OK'
    left -= 1
    sys.stdout.write(f'RESULT {len(answer)}\n{answer}')
