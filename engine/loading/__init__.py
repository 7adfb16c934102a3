"""Loading: finds the files of a named model and reads them into a network."""
