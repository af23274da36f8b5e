"""The parts of the page: `offer`, `choices`, `jobs` and `work` know, `column` and `trial` draw.

`app.py` puts them together.
"""
