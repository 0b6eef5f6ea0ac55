"""An authority that signs certificates, for servers and clients of tests."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """NotifyState certificates, by openssl."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = folder / 'ca.pem'
        self._openssl(
            'req', '-x509', *self._new_key('ca'), '-out', self.ca, '-days', 30, '-subj', '/CN=the authority',
            '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
        )  # fmt: skip

    def _openssl(self, *words: object) -> None:
        done = subprocess.run(['openssl', *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def _new_key(self, name: str) -> list[object]:
        key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout']
        return [*key, self._folder / f'{name}.key']

    def sign(self, name: str, days: int, names: str) -> tuple[str, str]:
        """Return the files of a certificate that ends in so many days, and of its key."""
        request, certificate = self._folder / f'{name}.csr', self._folder / f'{name}.pem'
        self._openssl('req', '-new', *self._new_key(name), '-out', request, '-subj', f'/CN={name}')
        extensions = self._folder / f'{name}.ext'
        extensions.write_text(f'subjectAltName={names}\nauthorityKeyIdentifier=keyid\n')
        signer = ('-CA', self.ca, '-CAkey', self._folder / 'ca.key', '-CAcreateserial')
        self._openssl(
            'x509', '-req', '-in', request, *signer, '-days', days, '-extfile', extensions, '-out', certificate
        )
        return str(certificate), str(self._folder / f'{name}.key')

    def signed(self, name: str, days: int, names: str) -> str:
        """Return a file with both, certificate and key."""
        both = self._folder / f'{name}.both'
        both.write_text(''.join(Path(path).read_text() for path in self.sign(name, days, names)))
        return str(both)
