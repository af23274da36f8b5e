"""Tables and rivals of the planner's benchmark."""
