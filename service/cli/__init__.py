"""The command `twofold`. Importing this package loads nothing; `main` says what each command takes."""
