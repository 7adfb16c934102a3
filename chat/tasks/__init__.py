"""What can be done with the code under the cursor: tests, explanations, documentation, fixes."""
