"""What a training run depends on: the recipe, the images it selects, the folder it writes."""
