"""Tasks on the code at the cursor: write tests, explain, review, translate, document, fix, edit."""
