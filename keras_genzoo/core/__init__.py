"""The foundation: what every room of the package stands on, and which knows none of them."""
