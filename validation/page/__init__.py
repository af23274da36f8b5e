"""What the page knows and does, without a line of layout: choices, background work, tables. `app.py` draws it."""
