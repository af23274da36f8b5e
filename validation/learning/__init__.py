"""Plans that are drawn to learn from, and what their runs teach the planner."""
