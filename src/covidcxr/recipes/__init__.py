"""What a training run depends on: the recipe, the pictures it selects, the folder it writes."""
