"""Drills: the real program as a child process, real peers, and faults injected from outside. `make drills` runs all."""
