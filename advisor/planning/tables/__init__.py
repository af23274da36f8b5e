"""Cost tables from outside: a CSV, a data frame, other people's timing files."""
