"""What is asked of single layers: `asked` reads it, `restrict` filters a table by it, `offered` adds to it."""
