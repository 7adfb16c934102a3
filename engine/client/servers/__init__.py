"""The kinds of servers that the client understands: ours and those of other projects."""
