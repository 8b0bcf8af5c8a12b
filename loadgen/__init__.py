"""A workload becomes requests on the wire, and the requests become records."""

REQUEST_TIMEOUT_S = 300.0  # of a measured request, from sending to its end; here because it is light to import
# What reading JSON of an unknown shape can raise: values of other types, keys that lack, numbers without bounds, deep nesting.
UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
