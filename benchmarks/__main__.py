"""Run all measurements."""

from __future__ import annotations

from . import on_demand

on_demand.main()
