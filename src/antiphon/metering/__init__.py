"""Usage as callers ask for it and as it is shown; it is stored in stores."""
