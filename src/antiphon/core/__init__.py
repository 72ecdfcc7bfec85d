"""Pure values and ports: what every other room speaks. Standard library only; no clock, no I/O."""
