"""Tasks on the code at the cursor: write tests, explain, document, fix, edit."""
