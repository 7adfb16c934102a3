"""Programs to compare with, each in a process of its own and at its best on this machine."""
