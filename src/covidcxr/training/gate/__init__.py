"""The check that declines everything but frontal chest X-rays of adults: training and measurement."""
