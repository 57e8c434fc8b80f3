"""Benchmarks: run as commands, figures in docs/performance.md."""
