"""One file per command of the command line; each reads options, calls the library and prints."""
