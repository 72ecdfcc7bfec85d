"""The public names of models and voices, and what serves each."""
