"""How well predicted losses rank plans that were trained."""
