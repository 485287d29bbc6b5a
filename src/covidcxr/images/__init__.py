"""One picture: from the bytes of a file to a grey array to the input of a network."""
