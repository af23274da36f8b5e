"""A validation's runs: each from its start, its last epoch or its result; their folder, order and progress."""
