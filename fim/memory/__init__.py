"""The text of the project as a memory: where the text at the cursor occurs already."""
