"""The HTTP interface: requests to the runtime, its results to responses."""
