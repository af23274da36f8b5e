"""How one network trains: the recipe, the loop, the rate, the numbers it leaves."""
