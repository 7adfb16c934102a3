"""The memory of a project: places whose text before them ends like the text before the cursor."""
