"""A check of one's own that speaks where it should not."""

from __future__ import annotations

import os
import subprocess


class Noisy:
    def __init__(self, config, log):
        print('stray')

    def __call__(self, process_spec):
        print('stray 2\nRESULT 4\nFAIL', flush=True)
        os.write(1, b'stray bytes \xff\n')
        subprocess.run(['echo', 'stray words'], check=True)
        return True
