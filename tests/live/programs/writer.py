"""writer.py FOLDER: write what is put into FOLDER/say to standard output, and FOLDER/err to standard error."""

from __future__ import annotations

import sys
import time
from pathlib import Path

while True:
    for name, stream in (('say', sys.stdout), ('err', sys.stderr)):
        file = Path(sys.argv[1]) / name
        if file.exists():
            stream.write(file.read_text())
            stream.flush()
            file.unlink()
    time.sleep(0.02)
