"""Price books: files that say what usage costs; reading, checking and importing them."""
