"""The text of a project as a memory: where the text at the cursor occurs already."""
