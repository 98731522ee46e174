"""One module for each leg: `measure(context)` gives its rows."""
