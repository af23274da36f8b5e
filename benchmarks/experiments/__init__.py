"""One experiment for each source paper: does its claim show at the size of the embedded data?"""
