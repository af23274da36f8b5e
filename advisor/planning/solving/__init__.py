"""The exact choice on a cost table: `solve` is the way in, `program` what HiGHS is given, `fronts` the exact fronts."""
