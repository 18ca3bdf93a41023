"""Features as pictures: colours of their main directions, similarity to a pixel, segments."""
