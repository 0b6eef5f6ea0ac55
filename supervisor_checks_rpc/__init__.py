"""Health checks for supervisord, as a plugin."""

__version__ = '1.0.0'
