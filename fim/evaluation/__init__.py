"""How good completions are: holes cut into real files, filled, and compared."""
