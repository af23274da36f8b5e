"""The receipt: short training runs of a plan beside its alternatives, and the report that shows them."""
