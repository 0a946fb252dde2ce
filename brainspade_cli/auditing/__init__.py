"""Does a dataset repeat people of the training set? Behind `brainspade audit` and `brainspade weights codes`."""
