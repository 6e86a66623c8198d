"""What the commands of `twofold` do, and the codes they end with. `twofold.service.cli.main` says what they take."""

OK, OURS, BAD_INPUT, BUSY, NOT_FOUND, CHECK_FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
