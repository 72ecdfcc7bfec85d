"""The public names of models and voices, and what answers to each."""
