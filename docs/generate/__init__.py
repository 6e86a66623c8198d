"""The parts of the documentation that follow from the code, made when the site is built (`make docs`)."""
