"""CheckRunner, under the module name that supervisor_checks gives it."""

from __future__ import annotations

from .programs.check_runner import CheckRunner

__all__ = ['CheckRunner']
