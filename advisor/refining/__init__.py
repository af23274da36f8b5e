"""Plans that were timed: applied, measured beside the dense network, the table corrected, and planned again."""
