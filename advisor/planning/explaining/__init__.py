"""Why each layer got its option, in numbers and in words."""
