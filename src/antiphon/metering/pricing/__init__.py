"""Price books: files that say what usage costs, and how they are read, checked and imported."""
