"""What runs say together: statistics, exchange rates, predicted beside measured, and the report."""
