"""Access to a folder that is not trusted: its regular files, and git without its programs."""
