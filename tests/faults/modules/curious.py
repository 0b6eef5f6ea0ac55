"""A check of one's own that looks at what it can reach, and says so; and one that raises."""

import colorsys  # the standard library has to be there for its user
import os


class Curious:
    def __init__(self, config, log):
        self.config = config
        self.log = log

    def __call__(self, process_spec):
        assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
        reached = [each for each in ('see', 'read', 'signal', 'environ') if getattr(self, each)()]
        self.log('uid %d, groups %s, reached %s', os.getuid(), os.getgroups(), reached)
        return not reached

    def see(self):
        return os.access(self.config['conf'], os.R_OK)

    def read(self):
        try:
            with open(self.config['conf']) as file:
                return bool(file.read())
        except OSError:
            return False

    def signal(self):
        try:
            os.kill(os.getppid(), 0)
        except PermissionError:
            return False
        return True

    def environ(self):
        return 'SUPERVISOR_PASSWORD' in os.environ


class Raises:
    def __init__(self, config, log):
        self.config = config

    def __call__(self, process_spec):
        password = self.config['password']
        raise RuntimeError(f'cannot log in with {len(password)} characters')
